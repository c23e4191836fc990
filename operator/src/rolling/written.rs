//! The rollout record's object: read once per term from the API server itself, then followed.

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope, api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Resource, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};
use scope_crds::ScopePlugin;
use serde::de::DeserializeOwned;

use crate::{
    desired,
    guarded::{self, BUDGET, RequestError},
    look::Context,
    names, ownership,
    plan::{Foreign, Kind, Obstacle},
    rollout::Record,
    status::Trouble,
};

/// The key of the record in its ConfigMap.
const KEY: &str = "rollout.json";

/// The record as it is written, and the object that it is in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    pub(crate) record: Record,
    pub(crate) object: Option<ObjectMeta>,
}

impl Written {
    /// Which spec was acted on last.
    fn generation(&self) -> Option<i64> {
        self.record.run.as_ref().map(|run| run.generation)
    }

    /// Whether a newer spec was acted on than this one, by whoever led before. The newer one is on its way
    /// then, and nothing is done by this one.
    pub(crate) fn is_ahead_of(&self, plugin: &ScopePlugin) -> bool {
        let seen = plugin.metadata.generation.unwrap_or_default();
        let ahead = self.generation().is_some_and(|acted_on| acted_on > seen);
        if ahead {
            tracing::warn!(
                plugin = names::id(plugin),
                seen,
                acted_on = self.generation(),
                "an older spec than the one acted on is seen; the newer one is waited for"
            );
        }
        ahead
    }
}

/// What is written about the plugin's rollouts, by this process or by whoever led before. A cache may be
/// behind what that one wrote last, so the first answer of each term is the API server's.
pub(crate) async fn record_of(
    plugin: &ScopePlugin,
    context: &Context,
) -> Result<Result<Written, Trouble>, RequestError> {
    let uid = plugin.uid().unwrap_or_default();
    let name = names::child(names::id(plugin));
    let term = context.writer.claim.term();
    let cached = cached(&name, context).is_some_and(|it| ownership::is_child(&it.metadata, &uid));
    {
        let mut memory = context.memory();
        memory.see_record(&uid, cached);
        if let Some(written) = memory.record(&uid, term) {
            return Ok(Ok(written));
        }
    }
    let object = by_name::<ConfigMap>(&name, "the rollout record", context).await?;
    let found = match object {
        Some(object) => read(&object, &uid, context),
        None => Ok(context
            .memory()
            .deleted_record(&uid, term)
            .unwrap_or_default()),
    };
    if let Ok(written) = &found {
        context.memory().knows_record(&uid, term, written.clone());
    }
    Ok(found)
}

fn cached(name: &str, context: &Context) -> Option<std::sync::Arc<ConfigMap>> {
    let namespace = &context.settings.plugins_namespace;
    let reference = ObjectRef::<ConfigMap>::new(name).within(namespace);
    context.records.get(&reference)
}

/// One object of the plugins' namespace from the API server itself. It is listed by its name, which takes
/// no right that the watches do not take as well.
pub(super) async fn by_name<K>(
    name: &str,
    what: &str,
    context: &Context,
) -> Result<Option<K>, RequestError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(
        context.writer.client.clone(),
        &context.settings.plugins_namespace,
    );
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    let list = guarded::read(
        || format!("reading {what} {name}"),
        BUDGET,
        api.list(&params),
    )
    .await?;
    Ok(list.items.into_iter().next())
}

fn read(object: &ConfigMap, uid: &str, context: &Context) -> Result<Written, Trouble> {
    let name = object.name_any();
    if !ownership::is_child(&object.metadata, uid) {
        return Err(Trouble::Obstacle(Obstacle::Foreign(Foreign {
            kind: Kind::ConfigMap,
            namespace: context.settings.plugins_namespace.clone(),
            name,
            owner: ownership::owner_in_words(&object.metadata),
        })));
    }
    let text = object.data.as_ref().and_then(|data| data.get(KEY));
    let record = match text {
        Some(text) => serde_json::from_str(text).map_err(|error| Trouble::RecordUnreadable {
            name,
            error: error.to_string(),
        })?,
        None => Record::default(),
    };
    Ok(Written {
        record,
        object: Some(object.metadata.clone()),
    })
}

/// Writes the record over the object that it was read from, or where there is none.
pub(super) async fn write(
    plugin: &ScopePlugin,
    record: &Record,
    over: Option<&ObjectMeta>,
    context: &Context,
) -> Result<Written, RequestError> {
    let uid = plugin.uid().unwrap_or_default();
    let id = names::id(plugin);
    // Only a map whose keys are no texts cannot be written as JSON, and all keys of a record are.
    let text = serde_json::to_string(record).expect("a record is JSON");
    let object = ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::child(id)),
            namespace: Some(context.settings.plugins_namespace.clone()),
            labels: Some(
                [
                    (names::LABEL_MANAGED_BY, names::OPERATOR),
                    (names::LABEL_PLUGIN, id),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ),
            owner_references: Some(vec![desired::owner(plugin)]),
            ..ObjectMeta::default()
        },
        data: Some([(KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    };
    let term = context.writer.claim.term();
    match context.writer.record(object, over).await {
        Ok(object) => {
            let written = Written {
                record: record.clone(),
                object: Some(object.metadata),
            };
            context.memory().knows_record(&uid, term, written.clone());
            Ok(written)
        }
        Err(error) => {
            // Whether it was written is not known, or somebody else has; the API server is asked again.
            context.memory().doubt_record(&uid);
            Err(error)
        }
    }
}
