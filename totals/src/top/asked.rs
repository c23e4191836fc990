//! What somebody asks, out of the query of a request.

use scope_totals_wire::{MAX_METRIC, MAX_ROWS, Metric, ROWS, TopOf};

/// A question that can be answered, if its plugin is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Of what.
    pub of: TopOf,
    /// By which metric.
    pub metric: Metric,
    /// In which namespace; nothing for all of them.
    pub namespace: Option<String>,
    /// Measured by the agents of which plugin; nothing for the only one.
    pub plugin: Option<String>,
    /// How many rows at most.
    pub limit: usize,
}

/// What is wrong with a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAsk {
    /// Not what is asked about.
    #[error("of={0:?} is nothing that figures are of: ask of {all}", all = all())]
    Of(String),
    /// Not a metric, or one that does not add up.
    #[error(
        "metric={0:?} is none that is added up: ask for {all}, or for responses as in \
         http_5xx_responses_per_second and http_404_responses_per_second",
        all = metrics()
    )]
    Metric(String),
    /// Not a number of rows.
    #[error("limit={0:?} is not a number of rows from 1 to {MAX_ROWS}")]
    Limit(String),
    /// Not a name as Kubernetes has them.
    #[error("{0}={1:?} is not a name: lower-case letters, digits, dashes and dots")]
    Name(&'static str, String),
    /// Nodes are everywhere.
    #[error("nodes are in no namespace: leave namespace out, or ask of pods")]
    NoNamespace,
    /// Not part of a question.
    #[error("{0:?} is not part of a question: those are of, metric, namespace, plugin and limit")]
    Unknown(String),
    /// Twice the same.
    #[error("{0} is there twice")]
    Twice(&'static str),
    /// No query.
    #[error("the query cannot be read: write it as in of=pods&metric=cpu_millicores")]
    Unreadable,
}

fn all() -> String {
    TopOf::ALL.map(TopOf::as_str).join(", ")
}

fn metrics() -> String {
    Metric::named().collect::<Vec<_>>().join(", ")
}

/// What is quoted of a mistake.
const QUOTED: usize = 64;
/// The longest name of a namespace and of a plugin.
const NAME: usize = 253;

impl Ask {
    /// Reads the parts of a query. What is not said: pods, by CPU, in all namespaces, of the only plugin, ten of them.
    pub fn read<'a>(query: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, BadAsk> {
        let [mut of, mut metric, mut namespace, mut plugin, mut limit] = [None; 5];
        for (name, value) in query {
            let (name, place) = match name {
                "of" => ("of", &mut of),
                "metric" => ("metric", &mut metric),
                "namespace" => ("namespace", &mut namespace),
                "plugin" => ("plugin", &mut plugin),
                "limit" => ("limit", &mut limit),
                other => return Err(BadAsk::Unknown(quoted(other))),
            };
            if place.replace(value).is_some() {
                return Err(BadAsk::Twice(name));
            }
        }
        let of = match of {
            Some(word) => TopOf::ALL
                .into_iter()
                .find(|of| of.as_str() == word)
                .ok_or_else(|| BadAsk::Of(quoted(word)))?,
            None => TopOf::Pods,
        };
        let metric = match metric {
            Some(id) => Some(id)
                .filter(|id| id.len() <= MAX_METRIC)
                .and_then(Metric::from_id)
                .ok_or_else(|| BadAsk::Metric(quoted(id)))?,
            None => Metric::Millicores,
        };
        let limit = match limit {
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_ROWS).contains(limit))
                .ok_or_else(|| BadAsk::Limit(quoted(text)))?,
            None => ROWS,
        };
        // As a form has it that was not filled in.
        let namespace = named("namespace", namespace.filter(|name| !name.is_empty()))?;
        if of == TopOf::Nodes && namespace.is_some() {
            return Err(BadAsk::NoNamespace);
        }
        Ok(Self {
            of,
            metric,
            namespace,
            plugin: named("plugin", plugin)?,
            limit,
        })
    }
}

fn named(what: &'static str, name: Option<&str>) -> Result<Option<String>, BadAsk> {
    let is_good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    match name {
        Some(name) if name.is_empty() || name.len() > NAME || !name.bytes().all(is_good) => {
            Err(BadAsk::Name(what, quoted(name)))
        }
        name => Ok(name.map(str::to_owned)),
    }
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Ask, BadAsk> {
        let parts = query.split('&').filter(|part| !part.is_empty());
        Ask::read(parts.map(|part| part.split_once('=').unwrap()))
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let least = Ask {
            of: TopOf::Pods,
            metric: Metric::Millicores,
            namespace: None,
            plugin: None,
            limit: 10,
        };
        assert_eq!(read(""), Ok(least.clone()));
        assert_eq!(read("namespace="), Ok(least));
        let all = "of=services&metric=http_5xx_responses_per_second&namespace=apps&plugin=node-metrics&limit=32";
        let full = Ask {
            of: TopOf::Services,
            metric: Metric::HttpClass(5),
            namespace: Some("apps".into()),
            plugin: Some("node-metrics".into()),
            limit: 32,
        };
        assert_eq!(read(all), Ok(full));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        let long = format!("namespace={}", "a".repeat(254));
        for (query, part) in [
            ("of=images", "ask of pods, controllers"),
            ("metric=docker_cpu_total_usage", "ask for cpu_millicores"),
            ("limit=0", "from 1 to 32"),
            ("limit=33", "from 1 to 32"),
            ("limit=-1", "from 1 to 32"),
            ("namespace=A_b", "not a name"),
            ("plugin=", "not a name"),
            (&long, "not a name"),
            ("of=nodes&namespace=apps", "in no namespace"),
            ("Of=pods", "not part of a question"),
            ("of=pods&of=nodes", "twice"),
        ] {
            let said = read(query).unwrap_err().to_string();
            assert!(said.contains(part), "{query}: {said}");
            assert!(said.len() < 700, "{said}");
        }
    }
}
