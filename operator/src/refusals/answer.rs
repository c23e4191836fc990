//! One question to one agent.

use std::net::SocketAddr;

use axum::body::Body;
use futures::{FutureExt, StreamExt, future};
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{CONNECTION, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// So much of an answer is read.
const BODY: usize = 1024;
/// The head of an answer may be so large; hyper takes no smaller bound.
const HEAD: usize = 8192;
const HEADERS: usize = 32;
/// So much of it is told.
const WORDS: usize = 400;

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It refuses, and says why. `cut`: it said more than is read.
    Refuses { words: String, cut: bool },
    /// It is ready by now.
    Ready,
    /// Whatever answers there says nothing that could be told.
    Odd,
    /// Nobody answers.
    Unreachable,
    /// Not in time.
    Late,
}

impl Answer {
    /// In one word, for the metric.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Refuses { cut: false, .. } => "Told",
            Self::Refuses { cut: true, .. } => "Cut",
            Self::Ready => "Ready",
            Self::Odd => "Odd",
            Self::Unreachable => "Unreachable",
            Self::Late => "Late",
        }
    }

    pub(super) fn words(self) -> Option<String> {
        match self {
            Self::Refuses { words, .. } => Some(words),
            _ => None,
        }
    }
}

/// Asks whoever listens there. A redirect is not followed.
pub(super) async fn of(address: SocketAddr) -> Answer {
    let Ok(stream) = TcpStream::connect(address).await else {
        return Answer::Unreachable;
    };
    let connected = http1::Builder::new()
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .handshake::<_, Body>(TokioIo::new(stream))
        .await;
    let Ok((mut sender, connection)) = connected else {
        return Answer::Odd;
    };
    let exchange = async {
        let request = Request::get("/readyz")
            .header(HOST, address.to_string())
            .header(CONNECTION, "close")
            .body(Body::empty())
            .ok()?;
        let response = sender.send_request(request).await.ok()?;
        let status = response.status();
        if status.is_success() {
            return Some(Answer::Ready);
        }
        if status != StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        let mut pieces = Body::new(response.into_body()).into_data_stream();
        let mut said = Vec::new();
        while said.len() <= BODY
            && let Some(piece) = pieces.next().await
        {
            said.extend_from_slice(&piece.ok()?);
        }
        let cut = said.len() > BODY;
        said.truncate(BODY);
        let words = words(&said)?;
        Some(Answer::Refuses { words, cut })
    };
    // The connection moves the bytes; when it ends, what it has brought is still there to be read.
    let connection = connection.then(|_| future::pending::<()>());
    let answer = tokio::select! {
        answer = exchange => answer,
        () = connection => None,
    };
    answer.unwrap_or(Answer::Odd)
}

/// One line of printable text, bounded. Nothing if it is no text.
fn words(said: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(said) {
        Ok(text) => text,
        // The bound may have cut the last character in two.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&said[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let printable: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !is_hidden(*c))
        .collect();
    let line: Vec<&str> = printable.split_whitespace().collect();
    let words: String = line.join(" ").chars().take(WORDS).collect();
    (!words.is_empty()).then_some(words)
}

/// Whether a character shows nothing by itself, or changes how others are shown.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fff0}'..='\u{ffff}'
                | '\u{e000}'..='\u{f8ff}'
                | '\u{e0000}'..='\u{10ffff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_line_of_printable_text() {
        for (said, wanted) in [
            (
                "no sample has been taken yet\n",
                Some("no sample has been taken yet"),
            ),
            ("two\nlines\r\n\tand tabs", Some("two lines and tabs")),
            ("\u{1b}[31mred\u{1b}[0m", Some("[31mred[0m")),
            ("back\u{202e}wards\u{200b}", Some("backwards")),
            ("\u{e0041}\u{7}", None),
            ("größe: 5 µs", Some("größe: 5 µs")),
            ("", None),
            (" \n", None),
        ] {
            assert_eq!(words(said.as_bytes()).as_deref(), wanted, "{said:?}");
        }
        assert_eq!(words(b"\x7fELF\x02\x01\xff\xfe"), None, "not text");
        let cut = "é".repeat(BODY);
        let told = words(&cut.as_bytes()[..BODY - 1]).unwrap();
        assert_eq!(told, "é".repeat(WORDS));
    }
}
