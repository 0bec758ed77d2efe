//! The program: arguments, settings, one role, exit status (`--help` lists them).

use std::process::ExitCode;

use clap::Parser;
use livepeer_node::cli::{Arguments, Refused};
use livepeer_node::{logging, process};

/// `EX_USAGE` of sysexits.h.
const EXIT_REFUSED: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            logging::last_words(&error.to_string());
            return ExitCode::from(EXIT_REFUSED);
        }
        Err(help) => {
            logging::print(&help.to_string());
            return ExitCode::SUCCESS;
        }
    };
    let settings = match arguments.settings() {
        Ok(settings) => settings,
        Err(Refused(message)) => {
            logging::last_words(&message);
            return ExitCode::from(EXIT_REFUSED);
        }
    };
    if arguments.print_settings {
        logging::print(&arguments.describe(&settings));
        return ExitCode::SUCCESS;
    }
    match process::run(&arguments, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::last_words(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
