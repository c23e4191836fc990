//! The values that add up, by the IDs under which agents show them.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny, MapAccess},
    ser::SerializeMap,
};

use crate::bounds::MAX_VALUES;

/// A value that adds up over pods and nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Thousandths of one CPU: `cpu_millicores`.
    Millicores,
    /// Bytes of the working set: `docker_memory_usage`.
    Memory,
    /// Bytes that the pods may use; only where each of them has a limit: `memory_limit`.
    MemoryLimit,
    /// Resident bytes: `rss`.
    Rss,
    /// Threads: `threads`.
    Threads,
    /// Processes: `processes`.
    Processes,
    /// Open descriptors: `open_files`.
    OpenFiles,
    /// Bytes received per second: `network_rx`.
    NetworkReceived,
    /// Bytes sent per second: `network_tx`.
    NetworkSent,
    /// Bytes read from disks per second: `disk_read`.
    DiskRead,
    /// Bytes written to disks per second: `disk_write`.
    DiskWritten,
    /// Milliseconds of waiting for block I/O per second: `block_io_delay`.
    BlockDelay,
    /// Processes killed for want of memory since their pods began: `oom_kills`.
    OomKills,
    /// Requests per second: `http_requests_per_second`.
    HttpRequests,
    /// Responses per second with a code from so many hundreds on, 2 to 5: `http_2xx_responses_per_second`.
    HttpClass(u8),
    /// Responses per second with this code, 100 to 599: `http_404_responses_per_second`.
    HttpCode(u16),
    /// Responses per second in no other figure: `http_OTHERS_responses_per_second`.
    HttpOthers,
    /// Connections per second that began as HTTP/2: `http2_connections_per_second`.
    Http2Connections,
}

const NAMED: [(Metric, &str); 16] = [
    (Metric::Millicores, "cpu_millicores"),
    (Metric::Memory, "docker_memory_usage"),
    (Metric::MemoryLimit, "memory_limit"),
    (Metric::Rss, "rss"),
    (Metric::Threads, "threads"),
    (Metric::Processes, "processes"),
    (Metric::OpenFiles, "open_files"),
    (Metric::NetworkReceived, "network_rx"),
    (Metric::NetworkSent, "network_tx"),
    (Metric::DiskRead, "disk_read"),
    (Metric::DiskWritten, "disk_write"),
    (Metric::BlockDelay, "block_io_delay"),
    (Metric::OomKills, "oom_kills"),
    (Metric::HttpRequests, "http_requests_per_second"),
    (Metric::HttpOthers, "http_OTHERS_responses_per_second"),
    (Metric::Http2Connections, "http2_connections_per_second"),
];

const RESPONSES: &str = "_responses_per_second";

impl Metric {
    /// The ID under which agents show it.
    pub fn id(self) -> Cow<'static, str> {
        match self {
            Self::HttpClass(class) => format!("http_{class}xx{RESPONSES}").into(),
            Self::HttpCode(code) => format!("http_{code}{RESPONSES}").into(),
            named => NAMED
                .iter()
                .find(|(metric, _)| *metric == named)
                .map_or("", |(_, id)| id)
                .into(),
        }
    }

    /// The IDs of all that is not of a class or code of HTTP.
    pub fn named() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(_, id)| *id)
    }

    /// The metric with this ID; nothing if it does not add up, or is not known here.
    pub fn from_id(id: &str) -> Option<Self> {
        if let Some((metric, _)) = NAMED.iter().find(|(_, name)| *name == id) {
            return Some(*metric);
        }
        match id
            .strip_prefix("http_")?
            .strip_suffix(RESPONSES)?
            .as_bytes()
        {
            [class @ b'2'..=b'5', b'x', b'x'] => Some(Self::HttpClass(class - b'0')),
            [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                let [a, b, c] = [a, b, c].map(|digit| u16::from(digit - b'0'));
                Some(Self::HttpCode(100 * a + 10 * b + c))
            }
            _ => None,
        }
    }

    /// Whether it is 0 where it is absent beside [`HttpRequests`](Self::HttpRequests): who counts HTTP tells
    /// what there was of it, and of a status code that only some have sent there is a sum as well.
    pub fn is_part_of_http(self) -> bool {
        matches!(
            self,
            Self::HttpClass(_) | Self::HttpCode(_) | Self::HttpOthers | Self::Http2Connections
        )
    }

    /// What the pods of one controller on one node cannot exceed, by a wide margin.
    pub fn ceiling(self) -> f64 {
        match self {
            Self::Millicores => 1e7,
            Self::Memory | Self::MemoryLimit | Self::Rss => 1e15,
            Self::Threads | Self::Processes | Self::OpenFiles | Self::OomKills => 1e9,
            Self::NetworkReceived | Self::NetworkSent | Self::DiskRead | Self::DiskWritten => 1e13,
            Self::BlockDelay
            | Self::HttpRequests
            | Self::HttpClass(_)
            | Self::HttpCode(_)
            | Self::HttpOthers
            | Self::Http2Connections => 1e10,
        }
    }
}

/// Values by metric, in the order of the metrics, each once. Metrics that are not known here are left out on
/// reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(Vec<(Metric, f64)>);

impl Values {
    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, f64)> {
        self.0.iter().copied()
    }

    /// One of them.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        ValuesOf(&self.0).get(metric)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn place(values: &[(Metric, f64)], metric: Metric) -> Result<usize, usize> {
    values.binary_search_by_key(&metric, |(known, _)| *known)
}

impl FromIterator<(Metric, f64)> for Values {
    /// Of several values of a metric the first stays.
    fn from_iter<I: IntoIterator<Item = (Metric, f64)>>(values: I) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by_key(|(metric, _)| *metric);
        values.dedup_by_key(|(metric, _)| *metric);
        Self(values)
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ValuesOf(&self.0).serialize(serializer)
    }
}

/// [`Values`] that somebody else keeps, likewise in the order of the metrics and each once.
#[derive(Clone, Copy, Debug)]
pub struct ValuesOf<'a>(pub &'a [(Metric, f64)]);

impl ValuesOf<'_> {
    /// One of them.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        let place = place(self.0, metric).ok()?;
        Some(self.0[place].1)
    }
}

impl Serialize for ValuesOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (metric, value) in self.0 {
            map.serialize_entry(&*metric.id(), value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> de::Visitor<'de> for Map {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers by the IDs of metrics")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                // At hand, and then in as much room as they take: there are many.
                let mut values = [(Metric::Millicores, 0.0); MAX_VALUES];
                let mut count = 0;
                while let Some(Known(metric)) = map.next_key()? {
                    let Some(metric) = metric else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    let value = map.next_value()?;
                    match place(&values[..count], metric) {
                        Ok(_) => {
                            let id = metric.id();
                            return Err(de::Error::custom(format_args!("{id} is there twice")));
                        }
                        Err(_) if count == MAX_VALUES => {
                            return Err(de::Error::custom(format_args!(
                                "an object has more than {MAX_VALUES} values"
                            )));
                        }
                        Err(place) => {
                            values.copy_within(place..count, place + 1);
                            values[place] = (metric, value);
                            count += 1;
                        }
                    }
                }
                Ok(Values(values[..count].to_vec()))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// A metric, if it is known here.
struct Known(Option<Metric>);

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Id;
        impl de::Visitor<'_> for Id {
            type Value = Known;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the ID of a metric")
            }

            fn visit_str<E: de::Error>(self, id: &str) -> Result<Known, E> {
                Ok(Known(Metric::from_id(id)))
            }
        }
        deserializer.deserialize_str(Id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_an_id_of_its_own() {
        let classes = (2..=5).map(Metric::HttpClass);
        let codes = (100..600).map(Metric::HttpCode);
        let all: Vec<Metric> = NAMED
            .iter()
            .map(|(metric, _)| *metric)
            .chain(classes)
            .chain(codes)
            .collect();
        for metric in all {
            let id = metric.id();
            assert!(!id.is_empty(), "{metric:?}");
            assert_eq!(Metric::from_id(&id), Some(metric), "{id}");
        }
    }

    #[test]
    fn what_does_not_add_up_is_not_known() {
        for id in [
            "",
            "docker_cpu_total_usage",
            "psi_cpu_some",
            "http_error_ratio",
            "http_099_responses_per_second",
            "http_600_responses_per_second",
            "http_1xx_responses_per_second",
            "http__responses_per_second",
            "http_responses_per_second",
        ] {
            assert_eq!(Metric::from_id(id), None, "{id}");
        }
    }

    #[test]
    fn unknown_ones_are_left_out_and_double_ones_refused() {
        let text = r#"{"rss": 2, "of_next_year": {"a": []}, "cpu_millicores": 1.5}"#;
        let values: Values = serde_json::from_str(text).unwrap();
        let known: Vec<_> = values.iter().collect();
        assert_eq!(known, [(Metric::Millicores, 1.5), (Metric::Rss, 2.0)]);
        assert_eq!(values.get(Metric::Memory), None);
        let written = serde_json::to_string(&values).unwrap();
        assert_eq!(written, r#"{"cpu_millicores":1.5,"rss":2.0}"#);
        assert_eq!(serde_json::to_string(&ValuesOf(&known)).unwrap(), written);
        let double = serde_json::from_str::<Values>(r#"{"rss": 1, "rss": 2}"#).unwrap_err();
        assert!(
            double.to_string().contains("rss is there twice"),
            "{double}"
        );
    }

    #[test]
    fn there_may_be_so_many() {
        let text = |count: u16| {
            let values: Values = (100..100 + count)
                .map(|code| (Metric::HttpCode(code), 1.0))
                .collect();
            serde_json::to_string(&values).unwrap()
        };
        let most = u16::try_from(MAX_VALUES).unwrap();
        assert!(serde_json::from_str::<Values>(&text(most)).is_ok());
        assert!(serde_json::from_str::<Values>(&text(most + 1)).is_err());
    }
}
