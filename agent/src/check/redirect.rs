//! Where an answer sends the probe next. Go's HTTP client follows redirects, and with Scope's
//! transport every one of them comes back to the same socket, whatever host it names.

use std::fmt::Write as _;

use hyper::StatusCode;
use scope_protocol::API_VERSION;

/// Requests that Go's client makes before it gives up (`defaultCheckRedirect` in `net/http`).
pub(super) const MAX_REQUESTS: usize = 10;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The `Host` header. Scope calls every plugin `plugin`.
    pub(super) host: String,
    /// Path and query.
    pub(super) path: String,
    /// The URL that led here.
    pub(super) referer: Option<String>,
}

/// What follows from the head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This is the answer.
    Final,
    /// Ask there.
    Follow(Target),
    /// The probe does not get on from here; why, in words.
    Stuck(String),
}

impl Target {
    /// The probe's request for a report.
    pub(super) fn report(probe_id: &str) -> Self {
        Target {
            host: "plugin".to_owned(),
            path: format!("/report?api_version={API_VERSION}&probe_id={probe_id}"),
            referer: None,
        }
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}{}", self.host, self.path)
    }

    /// What Go's client does after an answer with this status and `Location`. An absent location is
    /// an empty one; a GET stays a GET whatever the status.
    pub(super) fn after(&self, status: StatusCode, location: &[u8]) -> Next {
        match status.as_u16() {
            301..=303 if location.is_empty() => Next::Stuck(format!(
                "it answered {} with {status} and named no Location",
                self.path
            )),
            301..=303 => self.follow(location),
            307 | 308 if !location.is_empty() => self.follow(location),
            _ => Next::Final,
        }
    }

    fn follow(&self, location: &[u8]) -> Next {
        let location = encoded(location);
        match self.resolve(&location) {
            Ok((host, path)) => Next::Follow(Target {
                host,
                path,
                referer: Some(self.url()),
            }),
            Err(why) => Next::Stuck(format!(
                "it answered {} with a redirect to {location}, and {why}",
                self.path
            )),
        }
    }

    /// Host, and path with query, that a location means as seen from here.
    fn resolve(&self, location: &str) -> Result<(String, String), &'static str> {
        let location = location.split('#').next().unwrap_or_default();
        let relative = match split_scheme(location) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
                if !rest.starts_with("//") {
                    return Err("that names no host");
                }
                rest
            }
            Some(_) => return Err("Scope's probe speaks plain HTTP to the socket"),
            None => location,
        };
        if let Some(rest) = relative.strip_prefix("//") {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            // What stands before an @ are credentials, which no Host header has.
            let host = authority.rsplit('@').next().unwrap_or_default();
            if host.is_empty() {
                return Err("that names no host");
            }
            let path = match path.starts_with('/') {
                true => without_dots(path),
                false => format!("/{path}"),
            };
            return Ok((host.to_owned(), path));
        }
        let here = self.path.split('?').next().unwrap_or_default();
        let path = match relative.chars().next() {
            None => self.path.clone(),
            Some('?') => format!("{here}{relative}"),
            Some('/') => without_dots(relative),
            Some(_) => {
                let directory = here.rsplit_once('/').map_or("", |(directory, _)| directory);
                without_dots(&format!("{directory}/{relative}"))
            }
        };
        Ok((self.host.clone(), path))
    }
}

/// As Go writes it: what is no visible ASCII as `%XX`.
fn encoded(location: &[u8]) -> String {
    let mut text = String::with_capacity(location.len());
    for &byte in location {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn split_scheme(location: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = location.split_once(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme.then_some((scheme, rest))
}

/// The path without its `.` and `..` segments (RFC 3986, 5.2.4); the query stays.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    // A directory stays one.
    let slash = match path.ends_with("/.") || path.ends_with("/..") {
        true if !kept.is_empty() => "/",
        _ => "",
    };
    format!("/{}{slash}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, path: &str) -> Target {
        Target {
            host: host.to_owned(),
            path: path.to_owned(),
            referer: None,
        }
    }

    #[test]
    fn a_location_is_seen_from_where_it_was_given() {
        let here = at("plugin", "/a/report?x=1");
        for (location, host, path) in [
            ("/b", "plugin", "/b"),
            ("b", "plugin", "/a/b"),
            ("./b", "plugin", "/a/b"),
            ("../b?q=1", "plugin", "/b?q=1"),
            ("../../../b", "plugin", "/b"),
            ("/a/./b/../c/", "plugin", "/a/c/"),
            ("/a/b/..", "plugin", "/a/"),
            ("..", "plugin", "/"),
            ("/q?d=/../e", "plugin", "/q?d=/../e"),
            ("?y=2", "plugin", "/a/report?y=2"),
            ("#top", "plugin", "/a/report?x=1"),
            ("//other", "other", "/"),
            ("//other?z", "other", "/?z"),
            ("http://other:80/c/../d", "other:80", "/d"),
            ("HTTP://me:secret@other/c#top", "other", "/c"),
            ("/a b\u{e4}", "plugin", "/a%20b%C3%A4"),
            ("/c:d", "plugin", "/c:d"),
        ] {
            let Next::Follow(target) = here.after(StatusCode::FOUND, location.as_bytes()) else {
                panic!("{location} is not followed");
            };
            assert_eq!((&*target.host, &*target.path), (host, path), "{location}");
            assert_eq!(
                target.referer.as_deref(),
                Some("http://plugin/a/report?x=1")
            );
        }
    }

    #[test]
    fn where_the_probe_cannot_go_is_said() {
        let here = at("plugin", "/report");
        for (location, words) in [
            (
                "https://plugin/",
                "redirect to https://plugin/, and Scope's",
            ),
            ("unix:/x", "plain HTTP"),
            ("http:///x", "names no host"),
            ("http:x", "names no host"),
            ("", "named no Location"),
        ] {
            match here.after(StatusCode::MOVED_PERMANENTLY, location.as_bytes()) {
                Next::Stuck(why) => assert!(why.contains(words), "{location}: {why}"),
                other => panic!("{location}: {other:?}"),
            }
        }
    }

    #[test]
    fn only_some_statuses_are_redirects() {
        let here = at("plugin", "/report");
        for (status, location, follows) in [
            (200, "/x", false),
            (300, "/x", false),
            (301, "/x", true),
            (302, "/x", true),
            (303, "/x", true),
            (304, "/x", false),
            (305, "/x", false),
            (307, "/x", true),
            (307, "", false),
            (308, "/x", true),
            (308, "", false),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let next = here.after(status, location.as_bytes());
            assert_eq!(matches!(next, Next::Follow(_)), follows, "{status}");
            assert_eq!(next == Next::Final, !follows, "{status}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_location_gives_a_path_of_visible_ascii_or_words(
            location in proptest::collection::vec(proptest::num::u8::ANY, 1..40),
        ) {
            let here = at("plugin", "/a/report?x=1");
            if let Next::Follow(target) = here.after(StatusCode::FOUND, &location) {
                proptest::prop_assert!(target.path.starts_with('/'));
                proptest::prop_assert!(target.path.bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
}
