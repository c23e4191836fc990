//! Values of flags: read from text, or refused in a few words.

use std::time::Duration;

use scope_crds::{Collector, MAX_PLUGIN_ID};

use super::{Controls, HostName, HttpListen, Namespaces};
use crate::Collectors;
use crate::collect::Mend;
use crate::container_control::whole_time;
use crate::control::CONTROLS_SUFFIX;

pub(super) fn plugin_id(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_PLUGIN_ID).contains(&text.len())
        && !text.ends_with(CONTROLS_SUFFIX)
        && text.split('-').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
    if fits {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a plugin ID has lower-case letters, digits and single inner dashes, at most \
         {MAX_PLUGIN_ID} characters, and does not end in {CONTROLS_SUFFIX}"
    ))
}

/// `NAME=VALUE`.
pub(super) fn argument(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("an argument is NAME=VALUE, such as duration=30s".to_owned()),
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

pub(super) fn collectors(text: &str) -> Result<Collectors, String> {
    let collectors: Result<Vec<Collector>, _> = names(text).map(str::parse).collect();
    let collectors = collectors.map_err(|e: scope_crds::UnknownCollector| e.to_string())?;
    if collectors.is_empty() {
        let known = Collector::ALL.map(Collector::as_str).join(", ");
        return Err(format!(
            "at least one collector is needed; the known ones are: {known}"
        ));
    }
    Ok(collectors.into_iter().collect())
}

pub(super) fn controls(text: &str) -> Result<Controls, String> {
    let controls: Result<_, _> = names(text).map(str::parse).collect();
    controls
        .map(Controls)
        .map_err(|e: scope_crds::UnknownControl| e.to_string())
}

pub(super) fn namespaces(text: &str) -> Result<Namespaces, String> {
    names(text)
        .map(node_name)
        .collect::<Result<_, _>>()
        .map(Namespaces)
}

pub(super) fn mend(text: &str) -> Result<Mend, String> {
    match text {
        "Auto" => Ok(Mend::Auto),
        "Always" => Ok(Mend::Always),
        "Never" => Ok(Mend::Never),
        _ => Err("it is one of Auto, Always, Never".into()),
    }
}

pub(super) fn host_name(text: &str) -> Result<HostName, String> {
    match text {
        "NodeName" => Ok(HostName::NodeName),
        "Kernel" => Ok(HostName::Kernel),
        _ => Err("it is one of NodeName, Kernel".into()),
    }
}

/// A name as Kubernetes gives it to nodes and namespaces; others would change the meaning of a
/// field selector.
pub(super) fn node_name(text: &str) -> Result<String, String> {
    let fits = (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    if fits {
        return Ok(text.to_owned());
    }
    Err("a name in Kubernetes has 1 to 253 lower-case letters, digits, dashes and dots".into())
}

pub(super) fn http_listen(text: &str) -> Result<HttpListen, String> {
    if text == "off" {
        return Ok(HttpListen::Off);
    }
    let address = text.parse().map_err(|_| {
        "it is \"off\" or an IP address and a port, such as 0.0.0.0:7390".to_owned()
    })?;
    Ok(HttpListen::At(address))
}

/// A line that Scope's pages show, and logs and terminals too.
pub(super) fn shown_text(text: &str) -> Result<String, String> {
    match text.chars().find(|c| c.is_control()) {
        _ if text.is_empty() => Err("leave it out for the default".into()),
        None => Ok(text.to_owned()),
        Some(bad) => Err(format!(
            "it contains the control character U+{:04X}; Scope shows it as one line of plain text",
            u32::from(bad)
        )),
    }
}

pub(super) fn sample_interval(text: &str) -> Result<Duration, String> {
    let range = Duration::from_secs(1)..=Duration::from_secs(60);
    match duration(text) {
        Ok(time) if range.contains(&time) => Ok(time),
        Ok(_) => Err("it is from 1s to 60s".into()),
        Err(form) => Err(format!("{form}; it is from 1s to 60s")),
    }
}

pub(super) fn traffic_max_duration(text: &str) -> Result<Duration, String> {
    whole_time(text, Duration::from_secs(24 * 3600))
        .ok_or_else(|| "it is from 1s to 24h, such as 30m".to_owned())
}

/// A whole number and a unit: `500ms`, `1s`, `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    number
        .zip(millis)
        .and_then(|(number, millis)| number.checked_mul(millis))
        .map(Duration::from_millis)
        .ok_or_else(|| "a time is a whole number and a unit: ms, s or m, such as 1s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("1s", Some(1000)),
            ("2m", Some(120_000)),
            ("0s", Some(0)),
            ("1", None),
            ("s", None),
            ("1h", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615m", None),
        ] {
            assert_eq!(
                duration(text).ok(),
                millis.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn a_sample_interval_is_from_a_second_to_a_minute() {
        for (text, fits) in [
            ("999ms", false),
            ("1000ms", true),
            ("60s", true),
            ("1m", true),
            ("60001ms", false),
            ("-1s", false),
            ("", false),
        ] {
            let read = sample_interval(text);
            assert_eq!(read.is_ok(), fits, "{text}");
            assert!(read.err().is_none_or(|e| e.contains("from 1s to 60s")));
        }
    }

    #[test]
    fn what_scope_shows_is_one_line_of_text() {
        for (text, fits) in [
            ("Node metrics", true),
            ("CPU \u{b7} m\u{e9}moire \u{1f600} \u{5d0}", true),
            ("", false),
            ("a\0", false),
            ("a\tb", false),
            ("a\u{7f}", false),
            ("a\u{9b}31m", false),
        ] {
            assert_eq!(shown_text(text).is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn plugin_ids_are_names_of_scope_plugins() {
        let long = "a".repeat(MAX_PLUGIN_ID + 1);
        for (text, fits) in [
            ("node-metrics", true),
            ("a", true),
            ("1-2-3", true),
            ("", false),
            ("-a", false),
            ("a--b", false),
            ("a-", false),
            ("A", false),
            ("a_b", false),
            ("a.b", false),
            ("../a", false),
            ("a-controls", false),
            ("controls", true),
            (long.as_str(), false),
        ] {
            assert_eq!(plugin_id(text).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn lists_may_be_empty_where_that_makes_sense() {
        assert_eq!(controls("").map(|c| c.0.len()), Ok(0));
        assert_eq!(controls(" DeletePod, ").map(|c| c.0.len()), Ok(1));
        assert!(
            controls("deletePod").is_err(),
            "the wire's name is not the flag's"
        );
        assert!(collectors("").is_err());
        assert_eq!(
            collectors("Resources, Resources").ok(),
            Some(Collectors::default())
        );
        assert_eq!(
            collectors("VolumeCount,Resources,IOWait,TrafficControl,HTTPStatistics").ok(),
            Some(Collectors::ALL)
        );
    }
}
