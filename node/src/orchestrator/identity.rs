//! What an orchestrator keeps over a restart: its certificate and the key of its tokens.
//!
//! The certificate is the wire's (go-livepeer `server/cert.go`): self-signed by ECDSA
//! P-256, a certificate authority of its own, the service's host as a DNS name even
//! when it is an IP address. No client verifies it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How long a certificate is valid (`server/cert.go`: 8765 h).
const VALIDITY: Duration = Duration::from_secs(8765 * 3600);
/// A kept certificate older than this is made anew, well before it ends.
const KEPT: Duration = Duration::from_secs(300 * 24 * 3600);

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("the certificate cannot be used")]
    Use(#[from] rustls::Error),
    #[error("{path} (key `orchestrator.data_dir`) cannot be used")]
    Keep {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} does not hold what was written there: {reason}; delete it to start anew")]
    Damaged { path: PathBuf, reason: String },
}

/// Certificate and keys.
pub(crate) struct Identity {
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) token_key: [u8; 32],
}

impl Identity {
    /// Loads what `data_dir` keeps, or makes what is missing there; without a folder
    /// everything is new. `host` is the service URI's.
    pub(crate) fn load(host: &str, data_dir: Option<&Path>) -> Result<Self, IdentityError> {
        let (certificate, key) = match data_dir {
            Some(folder) => kept_certificate(host, folder)?,
            None => make_certificate(host)?,
        };
        let token_key = match data_dir {
            Some(folder) => kept_token_key(&folder.join("token.key"))?,
            None => rand::random(),
        };
        Ok(Self {
            tls: Arc::new(server_config(&certificate, &key)?),
            token_key,
        })
    }
}

fn server_config(certificate: &str, key: &str) -> Result<ServerConfig, IdentityError> {
    let pem = |error: rustls::pki_types::pem::Error| rustls::Error::General(error.to_string());
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(pem)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    // gateways and transcoders send over HTTP/2 and fetch over HTTP/1.1
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A new certificate and its key, both PEM.
fn make_certificate(host: &str) -> Result<(String, String), IdentityError> {
    let mut params = CertificateParams::default();
    let now = SystemTime::now();
    params.not_before = now.into();
    params.not_after = (now + VALIDITY).into();
    params.serial_number = Some(SerialNumber::from_slice(&rand::random::<[u8; 16]>()));
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![SanType::DnsName(host.try_into()?)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// The certificate in `folder` while it is young, else a new one, kept there.
fn kept_certificate(host: &str, folder: &Path) -> Result<(String, String), IdentityError> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = std::fs::metadata(&certificate).and_then(|meta| meta.modified());
    let young = made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age < KEPT));
    if young
        && let (Ok(certificate), Ok(key)) = (
            std::fs::read_to_string(&certificate),
            std::fs::read_to_string(&key),
        )
    {
        return Ok((certificate, key));
    }
    let made = make_certificate(host)?;
    save(&key, made.1.as_bytes())?;
    save(&certificate, made.0.as_bytes())?;
    Ok(made)
}

fn kept_token_key(path: &Path) -> Result<[u8; 32], IdentityError> {
    match std::fs::read(path) {
        Ok(bytes) => bytes
            .try_into()
            .map_err(|bytes: Vec<u8>| IdentityError::Damaged {
                path: path.to_owned(),
                reason: format!("{} bytes instead of 32", bytes.len()),
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key: [u8; 32] = rand::random();
            save(path, &key)?;
            Ok(key)
        }
        Err(source) => Err(IdentityError::Keep {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes a secret, readable by us alone; whole or not at all.
fn save(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let draft = path.with_extension("new");
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    write().map_err(|source| IdentityError::Keep {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{Identity, IdentityError, kept_certificate};

    #[test]
    fn what_a_folder_keeps_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::load("10.0.0.1", Some(folder.path())).unwrap();
        let certificate = kept_certificate("10.0.0.1", folder.path()).unwrap();
        let second = Identity::load("10.0.0.1", Some(folder.path())).unwrap();
        assert_eq!(first.token_key, second.token_key);
        assert_eq!(
            certificate,
            kept_certificate("10.0.0.1", folder.path()).unwrap()
        );
    }

    #[test]
    fn without_a_folder_every_start_is_new() {
        let one = Identity::load("localhost", None).unwrap();
        let two = Identity::load("localhost", None).unwrap();
        assert_ne!(one.token_key, two.token_key);
    }

    #[test]
    fn a_damaged_key_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token.key"), b"short").unwrap();
        let refused = Identity::load("localhost", Some(folder.path()))
            .err()
            .unwrap();
        assert!(matches!(refused, IdentityError::Damaged { .. }));
    }
}
