//! What is wrong with the command line, as one line that names the argument or variable.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory as _};

use super::Cli;

/// clap's message without its suggestions, with the environment variable named where that is where a
/// wrong value came from.
pub(super) fn one_line(error: &clap::Error, args: &[OsString]) -> String {
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return "nothing to do: say serve, check or report, or --help".to_owned();
        }
        ErrorKind::InvalidUtf8 => {
            if let Some(line) = no_text(args) {
                return line;
            }
        }
        // Of a value that is one of several words, clap looks at a lossy copy.
        ErrorKind::InvalidValue
            if matches!(
                error.get(ContextKind::InvalidValue),
                Some(ContextValue::String(value)) if value.contains(char::REPLACEMENT_CHARACTER)
            ) =>
        {
            if let Some(line) = no_text(args) {
                return line;
            }
        }
        _ => {}
    }
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(rest) = line.strip_prefix("error: ") {
        line = rest.to_owned();
    }
    if let Some(variable) = blamed_variable(error, args) {
        line.push_str(&format!(" (from the environment variable {variable})"));
    }
    line
}

/// The argument that is not UTF-8, or else the variable.
fn no_text(args: &[OsString]) -> Option<String> {
    // The first is the program.
    let argument = args.iter().skip(1).find(|arg| arg.to_str().is_none());
    if let Some(argument) = argument {
        return Some(format!("the argument {argument:?} is not UTF-8"));
    }
    every_argument().into_iter().find_map(|arg| {
        let variable = arg.get_env()?;
        let value = std::env::var_os(variable)?;
        let is_path =
            arg.get_value_parser().type_id() == clap::builder::ValueParser::path_buf().type_id();
        (!is_path && value.to_str().is_none()).then(|| {
            format!(
                "the environment variable {} is not UTF-8: {value:?}",
                variable.display()
            )
        })
    })
}

/// The environment variable that a wrong value came from, if it did: the flag is not among the
/// arguments and the variable is set.
fn blamed_variable(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(blamed)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = blamed.split([' ', '=']).next()?;
    let is_flag = |arg: &OsString| {
        let name = arg.as_encoded_bytes().split(|b| *b == b'=').next();
        name == Some(flag.as_bytes())
    };
    if args.iter().any(is_flag) {
        return None;
    }
    let arguments = every_argument();
    let mut named = arguments.iter().filter(|arg| {
        arg.get_long()
            .is_some_and(|long| flag.strip_prefix("--") == Some(long))
    });
    let variable: &OsStr = named.find_map(|arg| arg.get_env())?;
    std::env::var_os(variable).map(|_| variable.to_string_lossy().into_owned())
}

/// Of all subcommands.
fn every_argument() -> Vec<Arg> {
    let cli = Cli::command();
    cli.get_subcommands()
        .flat_map(|c| c.get_arguments())
        .chain(cli.get_arguments())
        .cloned()
        .collect()
}
