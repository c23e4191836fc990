//! What the command lines have in common.

use std::ffi::OsString;

use clap::{Parser, error::ErrorKind};

use crate::exit::{Code, Failure};

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked<C> {
    /// A command.
    Command(C),
    /// Text, such as the help.
    Text(String),
}

/// Reads the command line and the environment. What is wrong with them is said in one line.
pub fn parse<C: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Asked<C>, Failure> {
    match C::try_parse_from(arguments) {
        Ok(command) => Ok(Asked::Command(command)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            Ok(Asked::Text(error.to_string()))
        }
        Err(error) => Err(Failure::new(
            Code::Usage,
            first_paragraph(&error.to_string()),
        )),
    }
}

/// The part of clap's message that says what is wrong, without the usage below it.
fn first_paragraph(message: &str) -> String {
    let paragraph: Vec<&str> = message
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .collect();
    paragraph.join(" ").trim_start_matches("error: ").to_owned()
}

/// Whether this is a DNS label, as names of namespaces are.
pub fn is_dns_label(value: &str) -> bool {
    value.len() <= 63 && is_label(value)
}

/// Whether this is a DNS subdomain, as names of most objects are.
pub fn is_dns_subdomain(value: &str) -> bool {
    value.len() <= 253 && value.split('.').all(is_label)
}

fn is_label(part: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !part.is_empty() && !part.starts_with('-') && !part.ends_with('-') && part.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "it", version)]
    struct Words {
        #[arg(long)]
        count: u8,
    }

    fn asked(words: &str) -> Result<Asked<Words>, Failure> {
        parse(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn commands_texts_and_mistakes_are_told_apart() {
        let Ok(Asked::Command(words)) = asked("it --count 3") else {
            panic!("a command");
        };
        assert_eq!(words.count, 3);
        for text in ["it --help", "it --version"] {
            assert!(matches!(asked(text), Ok(Asked::Text(_))), "{text}");
        }
        for (wrong, part) in [
            ("it", "not provided: --count"),
            ("it --count 300", "invalid value '300'"),
            ("it --nonsense", "unexpected argument '--nonsense'"),
        ] {
            let failure = asked(wrong).unwrap_err();
            assert_eq!(failure.code(), Code::Usage);
            let line = failure.to_string();
            assert!(line.contains(part), "{wrong}: {line}");
            assert!(
                !line.contains("Usage") && !line.starts_with("error"),
                "{line}"
            );
        }
    }

    #[test]
    fn names_of_namespaces_and_objects() {
        let longest = "a".repeat(63);
        for (value, label, subdomain) in [
            ("scope-system", true, true),
            ("1", true, true),
            (&longest, true, true),
            ("a.b-c", false, true),
            (&"a".repeat(64), false, true),
            (&[&*longest; 4].join("."), false, false),
            ("", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a..b", false, false),
            ("a.-b", false, false),
            ("A", false, false),
            ("a_b", false, false),
        ] {
            assert_eq!(is_dns_label(value), label, "{value:?}");
            assert_eq!(is_dns_subdomain(value), subdomain, "{value:?}");
        }
    }
}
