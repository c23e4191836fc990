//! Names of images, and nodes that cannot pull one.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// The reasons of a container that waits for an image it will not get. `ErrImagePull` alone may be a
/// moment's; the kubelet's next try makes `ImagePullBackOff` of it.
const HOPELESS: [&str; 4] = [
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
];

/// `REPO`, `REPO:TAG` or `REPO@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// The part before tag and digest.
    pub repository: String,
    /// What names one image of the repository; the chart's default without.
    pub which: Option<Which>,
}

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// By a name.
    Tag(String),
    /// By its content.
    Digest(String),
}

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoImage;

impl fmt::Display for NoImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image is REPO, REPO:TAG or REPO@sha256:DIGEST, such as registry.example.org/scope-agent:0.1.0")
    }
}

impl std::error::Error for NoImage {}

impl FromStr for ImageName {
    type Err = NoImage;

    fn from_str(text: &str) -> Result<Self, NoImage> {
        let (repository, which) = match text.split_once('@') {
            Some((repository, digest)) => {
                let hex = digest.strip_prefix("sha256:").ok_or(NoImage)?;
                let fits = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
                if !fits {
                    return Err(NoImage);
                }
                (repository, Some(Which::Digest(digest.to_owned())))
            }
            None => match text.rsplit_once(':') {
                // A colon before a slash is a registry's port.
                Some((repository, tag)) if !tag.contains('/') => {
                    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
                    if tag.is_empty() || tag.len() > 128 || !tag.bytes().all(fits) {
                        return Err(NoImage);
                    }
                    (repository, Some(Which::Tag(tag.to_owned())))
                }
                _ => (text, None),
            },
        };
        // What Helm's `--set` would take for more than a name is none.
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._:/-".contains(&b);
        let good = repository.bytes().all(fits)
            && repository.starts_with(|c: char| c.is_ascii_alphanumeric())
            && repository.len() <= 255;
        match good {
            true => Ok(ImageName {
                repository: repository.to_owned(),
                which,
            }),
            false => Err(NoImage),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            None => f.write_str(&self.repository),
            Some(Which::Tag(tag)) => write!(f, "{}:{tag}", self.repository),
            Some(Which::Digest(digest)) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

impl ImageName {
    /// The chart's values for it, below `operator` or `agent`.
    pub(super) fn values(&self, part: &str) -> Vec<String> {
        let mut values = vec![format!("{part}.image.repository={}", self.repository)];
        values.extend(self.which.as_ref().map(|which| match which {
            Which::Tag(tag) => format!("{part}.image.tag={tag}"),
            Which::Digest(digest) => format!("{part}.image.digest={digest}"),
        }));
        values
    }
}

/// The first container in a list of pods whose image cannot be pulled, in words.
pub(super) fn pull_failure(pods: &Value) -> Option<String> {
    pods["items"].as_array()?.iter().find_map(|pod| {
        let statuses = pod["status"]["containerStatuses"].as_array()?;
        statuses.iter().find_map(|status| {
            let waiting = &status["state"]["waiting"];
            let reason = waiting["reason"].as_str()?;
            HOPELESS.contains(&reason).then(|| {
                let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
                format!(
                    "node {} cannot pull the image {} of pod {}/{} ({reason}: {})",
                    text(&pod["spec"]["nodeName"]),
                    text(&status["image"]),
                    text(&pod["metadata"]["namespace"]),
                    text(&pod["metadata"]["name"]),
                    text(&waiting["message"]),
                )
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_are_read() {
        let digest = format!("sha256:{}", "a1".repeat(32));
        for (text, repository, which) in [
            ("scope-agent", "scope-agent", None),
            ("r.org/a/b", "r.org/a/b", None),
            ("r.org:5000/b", "r.org:5000/b", None),
            (
                "r.org:5000/b:1",
                "r.org:5000/b",
                Some(Which::Tag("1".into())),
            ),
            (
                &format!("r.org/b@{digest}"),
                "r.org/b",
                Some(Which::Digest(digest.clone())),
            ),
        ] {
            let name: ImageName = text.parse().expect("an image");
            assert_eq!(
                (name.repository.as_str(), &name.which),
                (repository, &which)
            );
            assert_eq!(name.to_string(), text);
        }
        for text in [
            "",
            "a:",
            ":1",
            "a b",
            "a,operator.replicas=9",
            "a@sha256:12",
            "a@1",
            "-a",
            "a:b c",
            "{a}",
        ] {
            assert_eq!(text.parse::<ImageName>(), Err(NoImage), "{text:?}");
        }
    }

    #[test]
    fn the_chart_gets_tag_or_digest() {
        let values = |text: &str| text.parse::<ImageName>().expect("an image").values("agent");
        assert_eq!(values("a"), ["agent.image.repository=a"]);
        assert_eq!(
            values("a:1"),
            ["agent.image.repository=a", "agent.image.tag=1"]
        );
    }

    #[test]
    fn a_failing_image_is_named() {
        let pods = |reason: &str| {
            json!({"items": [
                {"metadata": {"namespace": "n", "name": "fine"}, "status": {"containerStatuses": [
                    {"image": "good", "state": {"running": {}}}]}},
                {"metadata": {"namespace": "n", "name": "new"}, "status": {}},
                {"metadata": {"namespace": "n", "name": "bad"}, "spec": {"nodeName": "n1"},
                 "status": {"containerStatuses": [{"image": "r.org/no:1", "state": {"waiting":
                    {"reason": reason, "message": "not found"}}}]}},
            ]})
        };
        assert_eq!(
            pull_failure(&pods("ImagePullBackOff")).as_deref(),
            Some(
                "node n1 cannot pull the image r.org/no:1 of pod n/bad (ImagePullBackOff: not found)"
            )
        );
        for reason in ["ContainerCreating", "ErrImagePull", "CrashLoopBackOff"] {
            assert_eq!(pull_failure(&pods(reason)), None, "{reason}");
        }
    }
}
