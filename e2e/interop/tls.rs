//! TLS as Livepeer peers do it: a throw-away certificate, and no verification.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::Version;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, ServerConfig};

/// The recorder's own side: both protocols offered, as an orchestrator must.
pub(crate) fn server() -> Result<Arc<ServerConfig>> {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
        .context("make a certificate")?;
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .context("use the certificate")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Towards the orchestrator: exactly the HTTP version that the request came over.
pub(crate) fn client(version: Version) -> Arc<ClientConfig> {
    let alpn: &[u8] = if version == Version::HTTP_2 {
        b"h2"
    } else {
        b"http/1.1"
    };
    Arc::new(livepeer_proto::dial::client_config(&[alpn]))
}
