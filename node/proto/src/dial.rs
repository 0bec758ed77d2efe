//! TLS to a peer. Every node signs its own certificate anew at every start, and every
//! client of the network takes it unseen (go-livepeer `server/rpc.go`): identity is
//! proven by signatures over messages, not by TLS. Certificates with a host's IP as a
//! DNS name and a CA flag would fail any ordinary verification.
//!
//! This is the one place that says so; nothing else in the project skips it.
//!
//! Plaintext is not spoken to peers: settings, custom resources and what an orchestrator
//! announces of itself must be `https://`. go-livepeer's gateway would also dial `http://`,
//! where an orchestrator was told to listen so; segments and secrets would cross networks
//! for all to read.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// Time to connect, TLS included (go-livepeer: 2 s for HTTP, 3 s for gRPC).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that answers no HTTP/2 ping is gone even if its TCP connection stands. The
/// two together bound how long a frozen or cut-off peer is believed alive.
pub const PING_INTERVAL: Duration = Duration::from_millis(500);
/// Long enough for a peer on a machine with every core busy: at one second, connections
/// died on two cores with fourteen processes that wanted them.
pub const PING_TIMEOUT: Duration = Duration::from_millis(2000);

/// Why a peer cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("`{0}` is not an address of the form https://host:port")]
    Address(String),
    #[error("cannot connect to {uri}")]
    Connect {
        uri: String,
        #[source]
        source: tonic::transport::Error,
    },
}

/// TLS settings of a client: any certificate, ALPN as given.
#[must_use]
pub fn client_config(alpn: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// A gRPC channel to `https://host:port`, kept alive with HTTP/2 pings.
///
/// Connects before it returns, so that an error names the address.
pub async fn connect(uri: &str) -> Result<Channel, DialError> {
    let address = || DialError::Address(uri.to_owned());
    let target: Uri = uri.parse().map_err(|_| address())?;
    let host = target.host().ok_or_else(address)?.to_owned();
    let port = target.port_u16().unwrap_or(443);
    // tonic must not see `https`, or it would want its own TLS on top of ours
    let endpoint = Endpoint::from_shared(format!(
        "http://{}:{port}",
        target.host().ok_or_else(address)?
    ))
    .map_err(|_| address())?
    .connect_timeout(CONNECT_TIMEOUT)
    .tcp_nodelay(true)
    .http2_keep_alive_interval(PING_INTERVAL)
    .keep_alive_timeout(PING_TIMEOUT)
    .keep_alive_while_idle(true);
    let tls = TlsConnector::from(Arc::new(client_config(&[b"h2"])));
    let connector = tower::service_fn(move |_: Uri| tls_stream(tls.clone(), host.clone(), port));
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|source| DialError::Connect {
            uri: uri.to_owned(),
            source,
        })
}

async fn tls_stream(
    tls: TlsConnector,
    host: String,
    port: u16,
) -> std::io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let bare = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let stream = TcpStream::connect((bare.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(bare).map_err(std::io::Error::other)?;
    Ok(TokioIo::new(tls.connect(name, stream).await?))
}

/// Takes any certificate; still checks that the peer owns the key of the one it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
