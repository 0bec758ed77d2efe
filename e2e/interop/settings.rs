//! What each program is told for its role: go-livepeer's flags, our settings file.
//! Both say the same things.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use livepeer_settings::{LogLevel, ProfileSettings, Settings};
use url::Url;

use crate::exchange::Role;
use crate::peers::{Addresses, Setup};
use crate::profiles::transcoding_options;

/// The credential of the run; the processes and the folder end with it.
const SECRET: &str = "interop-secret";

/// go-livepeer's flags; writes the files they name under `folder`.
pub(crate) fn their_flags(
    role: Role,
    addresses: &Addresses,
    folder: &Path,
    setup: &Setup,
) -> Result<Vec<String>> {
    let text = |path: &Path| path.display().to_string();
    let mut flags = vec!["-network", "offchain", "-v", "6", "-dataDir"]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    flags.push(text(&folder.join("data")));
    let (own, admin): (Vec<(&str, String)>, _) = match role {
        Role::Orchestrator => (
            vec![
                ("-serviceAddr", addresses.service.to_string()),
                ("-httpAddr", addresses.orchestrator.to_string()),
                ("-orchSecret", SECRET.to_owned()),
            ],
            addresses.orchestrator_admin,
        ),
        Role::Transcoder => (
            vec![
                ("-orchAddr", addresses.service.to_string()),
                ("-orchSecret", SECRET.to_owned()),
            ],
            addresses.transcoder_admin,
        ),
        Role::Gateway => {
            let profiles = folder.join("profiles.json");
            std::fs::write(&profiles, transcoding_options(setup.profiles))?;
            (
                vec![
                    ("-orchAddr", addresses.service.to_string()),
                    ("-httpAddr", addresses.gateway.to_string()),
                    ("-rtmpAddr", addresses.rtmp.to_string()),
                    ("-transcodingOptions", text(&profiles)),
                ],
                addresses.gateway_admin,
            )
        }
        Role::Client => bail!("a client is no process"),
    };
    flags.push(format!("-{role}"));
    flags.extend(["-cliAddr".to_owned(), admin.to_string()]);
    for (flag, value) in own {
        flags.extend([flag.to_owned(), value]);
    }
    Ok(flags)
}

/// Our settings file; writes the credential it names under `folder`.
pub(crate) fn our_settings(
    role: Role,
    addresses: &Addresses,
    folder: &Path,
    setup: &Setup,
) -> Result<String> {
    let credentials = folder.join("credentials");
    std::fs::create_dir_all(&credentials)?;
    let credential = credentials.join("interop");
    std::fs::write(&credential, SECRET)?;
    let service = Url::parse(&format!("https://{}", addresses.service))?;
    let mut settings = Settings {
        log_level: LogLevel::Debug,
        probe_addr: Some(match role {
            Role::Orchestrator => addresses.orchestrator_admin,
            Role::Transcoder => addresses.transcoder_admin,
            Role::Gateway => addresses.gateway_admin,
            Role::Client => bail!("a client is no process"),
        }),
        ..Settings::default()
    };
    // Nothing is left in flight when a process is told to end.
    settings.drain.lame_duck = Duration::ZERO;
    settings.drain.deadline = Duration::from_secs(5);
    settings.engine.program = Some(setup.livepeer_engine.clone());
    settings.orchestrator.addr = addresses.orchestrator;
    settings.orchestrator.service_uri = Some(service.clone());
    settings.orchestrator.credentials_dir = Some(credentials);
    settings.transcoder.orchestrator = service.clone();
    settings.transcoder.credential_file = Some(credential);
    settings.gateway.http_addr = addresses.gateway;
    settings.gateway.orchestrators = vec![service];
    settings.gateway.profiles = setup
        .profiles
        .iter()
        .map(|profile| ProfileSettings {
            width: Some(profile.width),
            height: Some(profile.height),
            bitrate: Some(profile.bitrate),
            ..ProfileSettings::preset(profile.name)
        })
        .collect();
    Ok(toml::to_string(&settings)?)
}
