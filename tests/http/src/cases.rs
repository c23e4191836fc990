//! The cases: what is said on a connection, by which calls of the server, and what is to be counted.

use std::collections::BTreeMap;

use scope_agent::bpf::http::HttpWhat;

use crate::calls::{In, Out};
use crate::link::Link;

/// How often each case says its turn.
pub(crate) const TURNS: usize = 50;
/// The codes that servers answer with, in turn.
const CODES: [u16; 3] = [200, 404, 500];
const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "HEAD", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
];

/// What a server does. All that it reads until it next writes, the client has sent at once.
pub(crate) enum Step {
    /// Reads these bytes by one call.
    Read(In, Vec<u8>),
    /// Writes these.
    Write(Out, Vec<u8>),
}
use Step::{Read as R, Write as W};

/// A case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) link: Link,
    /// Whether each turn has a connection of its own.
    pub(crate) reconnects: bool,
    pub(crate) turn: fn(usize) -> Vec<Step>,
    /// What a turn is to be counted as.
    pub(crate) counted: fn(usize) -> Vec<HttpWhat>,
}

impl Case {
    /// What all turns are to be counted as.
    pub(crate) fn expected(&self) -> BTreeMap<HttpWhat, u64> {
        let mut sum = BTreeMap::new();
        for what in (0..TURNS).flat_map(self.counted) {
            *sum.entry(what).or_default() += 1;
        }
        sum
    }
}

fn code(turn: usize) -> u16 {
    CODES[turn % CODES.len()]
}

fn head(method: &str) -> Vec<u8> {
    format!("{method} /some/path HTTP/1.1\r\nHost: example\r\n\r\n").into_bytes()
}

fn get() -> Vec<u8> {
    head("GET")
}

fn answer(turn: usize) -> Vec<u8> {
    let code = code(turn);
    format!("HTTP/1.1 {code} Text\r\nContent-Length: 5\r\n\r\nbody\n").into_bytes()
}

/// One of each.
fn both(turn: usize) -> Vec<HttpWhat> {
    vec![HttpWhat::Request, HttpWhat::Response(code(turn))]
}

fn response_alone(turn: usize) -> Vec<HttpWhat> {
    vec![HttpWhat::Response(code(turn))]
}

fn request_alone(_: usize) -> Vec<HttpWhat> {
    vec![HttpWhat::Request]
}

/// A request that is read in pieces of these sizes, and the rest.
fn in_pieces(sizes: &[usize], turn: usize) -> Vec<Step> {
    let mut rest = get();
    let mut steps = Vec::new();
    for size in sizes {
        let after = rest.split_off(*size);
        steps.push(R(In::Recv, rest));
        rest = after;
    }
    steps.push(R(In::Recv, rest));
    steps.push(W(Out::Send, answer(turn)));
    steps
}

/// A request with a body that looks like a request and is read by itself.
fn body_like_a_request(turn: usize) -> Vec<Step> {
    vec![
        R(In::Recv, head("POST")),
        R(In::Recv, get()),
        W(Out::Send, answer(turn)),
    ]
}

macro_rules! turn {
    ($read:expr, $write:expr) => {
        |turn| vec![R($read, get()), W($write, answer(turn))]
    };
}

const fn case(
    name: &'static str,
    turn: fn(usize) -> Vec<Step>,
    counted: fn(usize) -> Vec<HttpWhat>,
) -> Case {
    Case {
        name,
        link: Link::V4,
        reconnects: false,
        turn,
        counted,
    }
}

/// All of them.
pub(crate) const CASES: [Case; 33] = [
    case("recv, send", turn!(In::Recv, Out::Send), both),
    case("read, write", turn!(In::Read, Out::Write), both),
    case("readv, writev", turn!(In::Readv(20), Out::Writev(20)), both),
    case("recvmsg, sendmsg", turn!(In::Recvmsg, Out::Sendmsg), both),
    Case {
        link: Link::V6,
        ..case("IPv6", turn!(In::Recv, Out::Send), both)
    },
    Case {
        link: Link::Unix,
        ..case("UNIX stream", turn!(In::Recv, Out::Send), both)
    },
    Case {
        link: Link::Unix,
        ..case(
            "UNIX stream, readv, writev",
            turn!(In::Readv(3), Out::Writev(3)),
            both,
        )
    },
    Case {
        reconnects: true,
        ..case("new connections", turn!(In::Recv, Out::Send), both)
    },
    Case {
        reconnects: true,
        ..case(
            "HTTP/1.0",
            |turn| {
                vec![
                    R(In::Recv, b"GET / HTTP/1.0\r\n\r\n".to_vec()),
                    W(
                        Out::Send,
                        format!("HTTP/1.0 {} Text\r\n\r\nbody", code(turn)).into_bytes(),
                    ),
                ]
            },
            both,
        )
    },
    case(
        "every method",
        |turn| {
            vec![
                R(In::Recv, head(METHODS[turn % METHODS.len()])),
                W(Out::Send, answer(turn)),
            ]
        },
        both,
    ),
    case(
        "no method",
        |turn| vec![R(In::Recv, head("GETS")), W(Out::Send, answer(turn))],
        response_alone,
    ),
    case("cut inside the header", |turn| in_pieces(&[30], turn), both),
    case("reads of 24 bytes", |turn| in_pieces(&[24], turn), both),
    case(
        "readv, first piece of 2 bytes",
        turn!(In::Readv(2), Out::Send),
        both,
    ),
    case(
        "writev, first piece of 8 bytes",
        turn!(In::Recv, Out::Writev(8)),
        both,
    ),
    case(
        "writev, first piece empty",
        turn!(In::Recv, Out::Writev(0)),
        both,
    ),
    case(
        "writev, pieces of 5 bytes",
        turn!(In::Recv, Out::Pieces(5)),
        both,
    ),
    case(
        "chunked",
        |turn| {
            vec![
                R(In::Recv, get()),
                W(
                    Out::Send,
                    format!(
                        "HTTP/1.1 {} Text\r\nTransfer-Encoding: chunked\r\n\r\n",
                        code(turn)
                    )
                    .into_bytes(),
                ),
                W(Out::Send, b"5\r\nbody\n\r\n".to_vec()),
                W(Out::Send, b"0\r\n\r\n".to_vec()),
            ]
        },
        both,
    ),
    case(
        "header and body apart",
        |turn| {
            vec![
                R(In::Recv, get()),
                W(Out::Send, answer(turn)),
                W(Out::Write, b"more of the body".to_vec()),
            ]
        },
        both,
    ),
    case(
        "100 Continue, body like a request",
        |turn| {
            vec![
                R(In::Recv, head("POST")),
                W(Out::Send, b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
                R(In::Recv, get()),
                W(Out::Send, answer(turn)),
            ]
        },
        |turn| {
            vec![
                HttpWhat::Request,
                HttpWhat::Response(100),
                HttpWhat::Response(code(turn)),
            ]
        },
    ),
    case("zero copy", turn!(In::Recv, Out::ZeroCopy), both),
    case(
        "header, body by sendfile",
        |turn| {
            vec![
                R(In::Recv, get()),
                W(
                    Out::Send,
                    format!("HTTP/1.1 {} Text\r\n\r\n", code(turn)).into_bytes(),
                ),
                W(Out::Sendfile, vec![b'x'; 5000]),
            ]
        },
        both,
    ),
    case("MSG_PEEK", turn!(In::PeekAndRecv, Out::Send), both),
    case("body like a request", body_like_a_request, both),
    Case {
        link: Link::Unix,
        ..case(
            "UNIX stream, body like a request",
            body_like_a_request,
            both,
        )
    },
    case(
        "body like a response",
        |turn| {
            vec![
                R(In::Recv, get()),
                W(Out::Send, answer(turn)),
                W(
                    Out::Send,
                    b"HTTP/1.1 503 is how this line of the body begins".to_vec(),
                ),
            ]
        },
        // What bytes mean cannot be seen from where they begin.
        |turn| {
            vec![
                HttpWhat::Request,
                HttpWhat::Response(code(turn)),
                HttpWhat::Response(503),
            ]
        },
    ),
    case(
        "five pipelined",
        |turn| {
            let answers = (0..5).map(|_| W(Out::Send, answer(turn)));
            std::iter::once(R(In::Recv, get().repeat(5)))
                .chain(answers)
                .collect()
        },
        // One read is one request: the responses tell how many there were.
        |turn| {
            [
                vec![HttpWhat::Request],
                vec![HttpWhat::Response(code(turn)); 5],
            ]
            .concat()
        },
    ),
    case(
        "request cut after 2 bytes",
        |turn| in_pieces(&[2], turn),
        response_alone,
    ),
    case(
        "reads of 3 bytes",
        |turn| in_pieces(&[3; 10], turn),
        response_alone,
    ),
    case(
        "response by sendfile",
        turn!(In::Recv, Out::Sendfile),
        request_alone,
    ),
    case(
        "response by splice",
        turn!(In::Recv, Out::Splice),
        request_alone,
    ),
    case(
        "response byte by byte",
        turn!(In::Recv, Out::ByteByByte),
        request_alone,
    ),
    Case {
        reconnects: true,
        ..case(
            "HTTP/2, and codes that are none",
            |turn| {
                let nonsense = ["abc", "099", "2 0", "1e3"][turn % 4];
                vec![
                    R(In::Recv, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
                    W(
                        Out::Send,
                        format!("HTTP/1.1 {nonsense} Text\r\n\r\n").into_bytes(),
                    ),
                ]
            },
            |_| vec![HttpWhat::Http2Connection, HttpWhat::Response(0)],
        )
    },
];
