//! Objects that are decoded to what is read of them: there are many, and most of what the API server says is
//! read by nobody.

/// Has such a type stand for an object's kind in lists and watches. It has a field `metadata`, kube's
/// `ObjectMeta`.
///
/// ```
/// # use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
/// #[derive(Clone, Debug, serde::Deserialize)]
/// struct Name {
///     metadata: ObjectMeta,
/// }
///
/// scope_process::of_kind!(Name: Pod);
///
/// assert_eq!(<Name as kube::Resource>::url_path(&(), Some("a")), "/api/v1/namespaces/a/pods");
/// ```
#[macro_export]
macro_rules! of_kind {
    ($read:ty: $whole:ty) => {
        impl ::kube::Resource for $read {
            type DynamicType = ();
            type Scope = <$whole as ::kube::Resource>::Scope;

            fn kind(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::kind(&())
            }

            fn group(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::group(&())
            }

            fn version(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::version(&())
            }

            fn plural(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::plural(&())
            }

            fn meta(&self) -> &::kube::core::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ::kube::core::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
