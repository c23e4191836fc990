//! Status line and header of an answer.

use super::WireError;
use super::connection::Connection;
use super::watch::Watch;
use crate::gotext::{self, quote};

/// Go reads no longer heads.
const MAX_HEAD: usize = 10 << 20;

/// How many provisional answers Go skips.
const MAX_PROVISIONAL: usize = 5;

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Nothing,
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) code: u16,
    /// Code and reason, as sent.
    pub(super) status: String,
    pub(super) framing: Framing,
    pub(super) closes: bool,
    pub(super) gzip: bool,
    pub(super) location: String,
}

/// Reads the head of the final answer.
pub(super) fn read(connection: &mut Connection, watch: &mut Watch) -> Result<Head, WireError> {
    if connection.buffered().is_empty() {
        match connection.fill(watch) {
            Ok(true) => {}
            Ok(false) => return Err(WireError::NoAnswer("EOF".to_owned())),
            Err(WireError::Text(words)) => return Err(WireError::NoAnswer(words)),
            Err(other) => return Err(other),
        }
    }
    for _ in 0..=MAX_PROVISIONAL {
        let head = read_one(connection, watch).map_err(|error| match error {
            WireError::Text(words) => WireError::Text(format!(
                "net/http: HTTP/1.x transport connection broken: {words}"
            )),
            other => other,
        })?;
        if !(100..200).contains(&head.code) || head.code == 101 {
            return Ok(head);
        }
    }
    Err(text(
        "net/http: HTTP/1.x transport connection broken: net/http: too many 1xx informational responses",
    ))
}

fn text(words: impl Into<String>) -> WireError {
    WireError::Text(words.into())
}

fn read_one(connection: &mut Connection, watch: &mut Watch) -> Result<Head, WireError> {
    let mut room = MAX_HEAD;
    let line = line(connection, watch, &mut room)?.ok_or_else(|| text("unexpected EOF"))?;
    let line = gotext::text(&line);
    let bad = |what: &str, word: &str| text(format!("malformed HTTP {what} {}", quote(word)));
    let (version, status) = line.split_once(' ').ok_or_else(|| bad("response", &line))?;
    let status = status.trim_start_matches(' ');
    let word = status.split(' ').next().unwrap_or_default();
    let code = (word.len() == 3)
        .then(|| gotext::parse_int(word).ok())
        .flatten()
        .and_then(|code| u16::try_from(code).ok())
        .ok_or_else(|| bad("status code", word))?;
    let (major, minor) = parse_version(version).ok_or_else(|| bad("version", version))?;

    let fields = fields(connection, watch, &mut room)?;
    let all = |name: &str| -> Vec<&str> {
        let same = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        fields
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_str())
            .collect()
    };
    let has_token = |name: &str, token: &str| {
        all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|word| word.trim_matches([' ', '\t']).eq_ignore_ascii_case(token))
    };
    let mut closes = match (major, minor) {
        (0, _) => true,
        (1, 0) => has_token("Connection", "close") || !has_token("Connection", "keep-alive"),
        _ => has_token("Connection", "close"),
    };
    let chunked = (major, minor) >= (1, 1) && is_chunked(&all("Transfer-Encoding"))?;
    let framing = framing(code, chunked, &all("Content-Length"))?;
    closes |= framing == Framing::UntilClose;
    let first = |name| all(name).first().copied().unwrap_or_default().to_owned();
    Ok(Head {
        code,
        status: status.to_owned(),
        framing,
        closes,
        gzip: first("Content-Encoding").eq_ignore_ascii_case("gzip"),
        location: first("Location"),
    })
}

fn line(
    connection: &mut Connection,
    watch: &mut Watch,
    room: &mut usize,
) -> Result<Option<Vec<u8>>, WireError> {
    let too_long = || {
        text(format!(
            "net/http: server response headers exceeded {MAX_HEAD} bytes; aborted"
        ))
    };
    let line = connection.line(*room, watch).map_err(|error| match error {
        WireError::Text(words) if words == "header line too long" => too_long(),
        other => other,
    })?;
    *room = room
        .checked_sub(line.as_ref().map_or(0, Vec::len))
        .ok_or_else(too_long)?;
    Ok(line)
}

fn parse_version(version: &str) -> Option<(u8, u8)> {
    let [major, b'.', minor] = *version.strip_prefix("HTTP/")?.as_bytes() else {
        return None;
    };
    (major.is_ascii_digit() && minor.is_ascii_digit()).then(|| (major - b'0', minor - b'0'))
}

fn fields(
    connection: &mut Connection,
    watch: &mut Watch,
    room: &mut usize,
) -> Result<Vec<(String, String)>, WireError> {
    let mut fields: Vec<(String, String)> = Vec::new();
    loop {
        let line = line(connection, watch, room)?.ok_or_else(|| text("unexpected EOF"))?;
        if line.is_empty() {
            return Ok(fields);
        }
        let line = gotext::text(&line);
        if line.starts_with([' ', '\t']) {
            let Some((_, value)) = fields.last_mut() else {
                return Err(text(format!("malformed MIME header initial line: {line}")));
            };
            value.push(' ');
            value.push_str(line.trim_matches([' ', '\t']));
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            let line = quote(&line);
            return Err(text(format!(
                "malformed MIME header: missing colon: {line}"
            )));
        };
        fields.push((key.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

fn is_chunked(encodings: &[&str]) -> Result<bool, WireError> {
    match encodings {
        [] => Ok(false),
        [one] if one.eq_ignore_ascii_case("chunked") => Ok(true),
        [one] => Err(text(format!(
            "unsupported transfer encoding: {}",
            quote(one)
        ))),
        many => Err(text(format!(
            "too many transfer encodings: {}",
            quoted_list(many)
        ))),
    }
}

fn quoted_list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

fn framing(code: u16, chunked: bool, lengths: &[&str]) -> Result<Framing, WireError> {
    if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(text(format!(
            "http: message cannot contain multiple Content-Length headers; got {}",
            quoted_list(lengths)
        )));
    }
    if matches!(code, 100..200 | 204 | 304) {
        return Ok(Framing::Nothing);
    }
    if chunked {
        return Ok(Framing::Chunked);
    }
    match lengths.first().copied().unwrap_or_default() {
        "" => Ok(Framing::UntilClose),
        length => match gotext::parse_uint(length) {
            Ok(0) => Ok(Framing::Nothing),
            Ok(length) if i64::try_from(length).is_ok() => Ok(Framing::Length(length)),
            _ => Err(text(format!("bad Content-Length {}", quote(length)))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    fn answer(bytes: &[u8]) -> Result<Head, WireError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let mut watch = Watch::new(None);
        let mut connection = Connection::dial(&path, &mut watch).unwrap();
        listener.accept().unwrap().0.write_all(bytes).unwrap();
        read(&mut connection, &mut watch)
    }

    fn refusal(bytes: &[u8]) -> String {
        match answer(bytes) {
            Err(WireError::Text(words)) => words
                .strip_prefix("net/http: HTTP/1.x transport connection broken: ")
                .unwrap_or(&words)
                .to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_heads() {
        let head = answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5 \r\nConnection: x, Close\r\n\r\n")
            .unwrap();
        assert_eq!(
            (head.framing, head.closes, head.status.as_str()),
            (Framing::Length(5), true, "200 OK")
        );
        let head = answer(b"HTTP/1.0 200\nContent-Encoding: GZIP\n\n").unwrap();
        assert_eq!(
            (head.framing, head.closes, head.gzip),
            (Framing::UntilClose, true, true)
        );
        let head =
            answer(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        assert_eq!((head.framing, head.closes), (Framing::Nothing, false));
        let head = answer(b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 204 X\r\nContent-Length: 7\r\n\r\n")
            .unwrap();
        assert_eq!((head.framing, head.code), (Framing::Nothing, 204));
        let both = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(answer(both).unwrap().framing, Framing::Chunked);
        // HTTP/1.0 knows no chunks.
        let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(answer(old).unwrap().framing, Framing::Length(7));
    }

    #[test]
    fn refuses_in_the_words_of_go() {
        for (bytes, words) in [
            (&b"hello"[..], "malformed HTTP response \"hello\""),
            (
                b"HTTP/1.1 2xx OK\r\n\r\n",
                "malformed HTTP status code \"2xx\"",
            ),
            (
                b"HTTP/1.1 20 OK\r\n\r\n",
                "malformed HTTP status code \"20\"",
            ),
            (
                b"HTTX/1.1 200 OK\r\n\r\n",
                "malformed HTTP version \"HTTX/1.1\"",
            ),
            (b"HTTP/1.1 200 OK\r\n", "unexpected EOF"),
            (
                b"HTTP/1.1 200 OK\r\nab\r\n\r\n",
                "malformed MIME header: missing colon: \"ab\"",
            ),
            (
                b"HTTP/1.1 200 OK\r\n ab: c\r\n\r\n",
                "malformed MIME header initial line:  ab: c",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                "bad Content-Length \"-1\"",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                "http: message cannot contain multiple Content-Length headers; got [\"1\" \"2\"]",
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                "unsupported transfer encoding: \"gzip\"",
            ),
        ] {
            assert_eq!(refusal(bytes), words);
        }
        assert_eq!(
            answer(b"").unwrap_err(),
            WireError::NoAnswer("EOF".to_owned())
        );
    }
}
