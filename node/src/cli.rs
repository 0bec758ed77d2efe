//! Arguments: which role, which file, how loud. Everything else is in the file.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use livepeer_media::engine::container_memory;
use livepeer_settings::{LogLevel, Role, Settings};

use crate::all;

/// What `--help` tells for scripts and for who reads a pod's last state.
const EXIT_STATUSES: &str = "\
Exit status:
  0   told to stop: drained, at the drain deadline, or at once by a second signal
  1   could not start or go on: a port in use, an engine that does not start
  64  settings or arguments refused; the last line names file, key and value";

/// A node of the Livepeer network.
#[derive(Debug, Clone, Parser)]
#[command(name = "livepeer-node", version, after_help = EXIT_STATUSES)]
pub struct Arguments {
    /// What to run as; `all` is the three others in one process, over loopback
    pub role: RoleName,
    /// The settings file (TOML); without it every setting has its default
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Print the settings in force, secrets as ***, and exit
    #[arg(long)]
    pub print_settings: bool,
    /// error, warn, info, debug or trace; wins over the file
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    pub log_level: Option<LogLevel>,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub log_json: bool,
}

/// The subcommands, as clap wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    Gateway,
    Orchestrator,
    Transcoder,
    All,
}

/// Settings were refused; the whole message for a person.
#[derive(Debug)]
pub struct Refused(pub String);

impl Arguments {
    /// The role as the rest of the program knows it.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.role {
            RoleName::Gateway => Role::Gateway,
            RoleName::Orchestrator => Role::Orchestrator,
            RoleName::Transcoder => Role::Transcoder,
            RoleName::All => Role::All,
        }
    }

    /// Loads the file and checks it whole, secrets included.
    pub fn settings(&self) -> Result<Settings, Refused> {
        let mut settings = match &self.settings {
            Some(path) => livepeer_settings::load(path).map_err(|error| Refused(chain(&error)))?,
            None => Settings::default(),
        };
        if let Some(level) = self.log_level {
            settings.log_level = level;
        }
        check_secrets(self.role(), &settings)
            .map_err(|refused| Refused(format!("{}: {refused}", self.origin())))?;
        Ok(settings)
    }

    /// Where the settings come from, for messages.
    fn origin(&self) -> String {
        match &self.settings {
            Some(path) => path.display().to_string(),
            None => "no --settings given".to_owned(),
        }
    }

    /// The settings in force as TOML, headed by what was decided outside of them.
    #[must_use]
    pub fn describe(&self, settings: &Settings) -> String {
        let mut shown = match self.role() {
            Role::All => all::joined(settings, settings.orchestrator.addr, container_memory()),
            Role::Gateway | Role::Orchestrator | Role::Transcoder => settings.clone(),
        };
        shown.probe_addr = Some(settings.probe_addr(self.role()));
        let origin = match &self.settings {
            Some(path) => format!("from {}", path.display()),
            None => "the defaults: no --settings given".to_owned(),
        };
        let body = toml::to_string(&shown).expect("settings hold nothing that TOML cannot say");
        let secrets = secret_files(self.role(), settings)
            .iter()
            .map(|(key, path)| format!("# {key}: *** (read from {})\n", path.display()))
            .collect::<String>();
        format!("# role {}, {origin}\n{secrets}{body}", self.role().name())
    }
}

fn parse_level(text: &str) -> Result<LogLevel, String> {
    [
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ]
    .into_iter()
    .find(|level| level.name() == text)
    .ok_or_else(|| "one of error, warn, info, debug, trace".to_owned())
}

/// The files of secrets that `role` will read, by the key that names them.
fn secret_files(role: Role, settings: &Settings) -> Vec<(&'static str, PathBuf)> {
    let all = role == Role::All;
    let mut files = Vec::new();
    if let Some(path) = &settings.gateway.ingest_token_file
        && (all || role == Role::Gateway)
    {
        files.push(("gateway.ingest_token_file", path.clone()));
    }
    if let Some(path) = &settings.transcoder.credential_file
        && role == Role::Transcoder
    {
        files.push(("transcoder.credential_file", path.clone()));
    }
    files
}

/// A secret that cannot be read is refused now, not at the first connection. The reason
/// names the key.
fn check_secrets(role: Role, settings: &Settings) -> Result<(), String> {
    for (key, path) in secret_files(role, settings) {
        let read = std::fs::read_to_string(&path);
        let path = path.display();
        match read {
            Ok(text) if !text.trim().is_empty() => {}
            Ok(_) => {
                return Err(format!(
                    "key `{key}`: the file {path} is empty; it must hold the secret"
                ));
            }
            Err(error) => {
                return Err(format!(
                    "key `{key}`: the file {path}, which must hold the secret, cannot be read: {error}"
                ));
            }
        }
    }
    let folder = settings.orchestrator.credentials_dir.as_deref();
    if let Some(folder) = folder
        && role == Role::Orchestrator
        && !folder.is_dir()
    {
        return Err(format!(
            "key `orchestrator.credentials_dir`: {} is not a folder; it holds one file a credential",
            folder.display()
        ));
    }
    if role == Role::Transcoder && settings.transcoder.credential_file.is_none() {
        let missing = "key `transcoder.credential_file` is missing: the file with the secret that the orchestrator accepts";
        return Err(missing.to_owned());
    }
    Ok(())
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
