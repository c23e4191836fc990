//! The bytes that the probe sends.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::gotext::json_string;

/// A request. The host is always called `plugin`, unless a redirect says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(super) method: &'static str,
    pub(super) host: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) referer: Option<String>,
    /// Says that it carries JSON, which a redirected click goes on saying without its body.
    json: bool,
    pub(super) body: Option<Vec<u8>>,
}

impl Request {
    /// `GET /report`.
    pub(crate) fn report(probe_id: &str) -> Self {
        Self {
            method: "GET",
            host: "plugin".to_owned(),
            target: target("/report", probe_id),
            referer: None,
            json: false,
            body: None,
        }
    }

    /// `POST /control`.
    pub(crate) fn control(probe_id: &str, body: String) -> Self {
        Self {
            method: "POST",
            json: true,
            body: Some(body.into_bytes()),
            target: target("/control", probe_id),
            ..Self::report(probe_id)
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}{}", self.host, self.target)
    }

    /// Header fields in Go's order: host, agent, length, then the others by name.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\n",
            self.method, self.target, self.host
        );
        if let Some(body) = &self.body {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        if self.json {
            head.push_str("Content-Type: application/json\r\n");
        }
        if let Some(referer) = &self.referer {
            let _ = write!(head, "Referer: {referer}\r\n");
        }
        head.push_str("Accept-Encoding: gzip\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// The request that follows a redirect; an error says why there is none.
    pub(super) fn redirected(&self, code: u16, location: &str) -> Result<Self, String> {
        let (host, target) = resolve(&self.host, &self.target, location)?;
        let keeps_body = matches!(code, 307 | 308);
        Ok(Self {
            method: if keeps_body { self.method } else { "GET" },
            host,
            target,
            referer: Some(self.url()),
            json: self.json,
            body: self.body.clone().filter(|_| keeps_body),
        })
    }
}

fn target(path: &str, probe_id: &str) -> String {
    format!("{path}?api_version=1&probe_id={probe_id}")
}

/// The host and the path with query that a `Location` means.
fn resolve(host: &str, target: &str, location: &str) -> Result<(String, String), String> {
    let location = location.split('#').next().unwrap_or_default();
    let rest = match location.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => {
            if !scheme.eq_ignore_ascii_case("http") {
                return Err(format!("unsupported protocol scheme \"{scheme}\""));
            }
            rest
        }
        _ => location,
    };
    if let Some(authority) = rest.strip_prefix("//") {
        let end = authority.find(['/', '?']).unwrap_or(authority.len());
        let (host, target) = authority.split_at(end);
        if host.is_empty() {
            return Err("http: no Host in request URL".to_owned());
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        return Ok((host.to_owned(), normalise(&format!("{slash}{target}"))));
    }
    let base = target.split('?').next().unwrap_or_default();
    let target = match rest.as_bytes().first() {
        None => target.to_owned(),
        Some(b'/') => normalise(rest),
        Some(b'?') => format!("{base}{rest}"),
        Some(_) => {
            let folder = base.rfind('/').map_or("", |slash| &base[..slash]);
            normalise(&format!("{folder}/{rest}"))
        }
    };
    Ok((host.to_owned(), target))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Removes `.` and `..` from the path.
fn normalise(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut out: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." if !last => {}
            ".." => {
                out.pop();
                if last {
                    out.push("");
                }
            }
            "." => out.push(""),
            _ => out.push(part),
        }
    }
    format!("/{}{query}", out.join("/"))
}

/// The JSON of a click.
pub(crate) fn control_body(
    app_id: &str,
    node_id: &str,
    control: &str,
    args: Option<&BTreeMap<String, String>>,
) -> String {
    let mut out = String::from("{\"AppID\":");
    json_string(app_id, &mut out);
    out.push_str(",\"Control\":");
    json_string(control, &mut out);
    out.push_str(",\"ControlArgs\":");
    match args {
        None => out.push_str("null"),
        Some(args) => {
            out.push('{');
            for (at, (key, value)) in args.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                json_string(key, &mut out);
                out.push(':');
                json_string(value, &mut out);
            }
            out.push('}');
        }
    }
    out.push_str(",\"NodeID\":");
    json_string(node_id, &mut out);
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_seen_from_a_real_probe() {
        let report = String::from_utf8(Request::report("5bdcc0beddf3c14").bytes()).unwrap();
        assert_eq!(
            report,
            "GET /report?api_version=1&probe_id=5bdcc0beddf3c14 HTTP/1.1\r\nHost: plugin\r\n\
             User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        let args = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let body = control_body("40a7031ee6466403", "rawhost;<host>", "x", Some(&args));
        let control = Request::control("5bdcc0beddf3c14", body).bytes();
        assert_eq!(
            String::from_utf8(control).unwrap(),
            "POST /control?api_version=1&probe_id=5bdcc0beddf3c14 HTTP/1.1\r\nHost: plugin\r\n\
             User-Agent: Go-http-client/1.1\r\nContent-Length: 102\r\n\
             Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n\
             {\"AppID\":\"40a7031ee6466403\",\"Control\":\"x\",\"ControlArgs\":{\"a\":\"b\"},\
             \"NodeID\":\"rawhost;\\u003chost\\u003e\"}"
        );
        assert!(control_body("", "", "", None).contains("\"ControlArgs\":null"));
    }

    #[test]
    fn follows_locations() {
        for (location, host, target) in [
            ("/other?x=1", "plugin", "/other?x=1"),
            ("other", "plugin", "/a/other"),
            ("../other/.", "plugin", "/other/"),
            ("?x", "plugin", "/a/b?x"),
            ("http://else/where#top", "else", "/where"),
            ("//else", "else", "/"),
            ("", "plugin", "/a/b?q"),
        ] {
            let resolved = resolve("plugin", "/a/b?q", location);
            assert_eq!(
                resolved,
                Ok((host.to_owned(), target.to_owned())),
                "{location}"
            );
        }
        assert!(
            resolve("plugin", "/", "ftp://x/")
                .unwrap_err()
                .contains("\"ftp\"")
        );
    }

    #[test]
    fn a_redirected_post_keeps_its_body_only_when_told_to() {
        let post = Request::control("1", "{}".to_owned());
        let seen = post.redirected(302, "/x").unwrap();
        assert_eq!((seen.method, seen.body.is_none()), ("GET", true));
        assert!(
            seen.referer
                .unwrap()
                .starts_with("http://plugin/control?api_version=1")
        );
        let kept = post.redirected(307, "/x").unwrap();
        assert_eq!((kept.method, kept.body), ("POST", post.body));
    }
}
