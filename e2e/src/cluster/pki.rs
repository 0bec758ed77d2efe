//! The cluster's certificates: one authority, one certificate a component.
//!
//! Made anew for every cluster, with the names and groups that Kubernetes' authorisers look
//! for, so that Node and RBAC authorisation are really put to the test.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::config::NODE_NAME;
use super::namespaces::NODE_IP;
use super::paths;

/// Who a certificate is for.
struct Identity {
    file: &'static str,
    common_name: String,
    organisation: Option<&'static str>,
    names: Vec<String>,
}

impl Identity {
    fn client(file: &'static str, name: impl Into<String>, group: Option<&'static str>) -> Self {
        Self {
            file,
            common_name: name.into(),
            organisation: group,
            names: Vec::new(),
        }
    }

    fn server(file: &'static str, names: &[&str]) -> Self {
        Self {
            file,
            common_name: file.to_owned(),
            organisation: None,
            names: names.iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

/// The path of a certificate (`.crt`) or key (`.key`).
pub(crate) fn path(name: &str) -> PathBuf {
    paths::state("pki").join(name)
}

/// Makes the authority, every certificate and the service-account keys.
pub(crate) fn create() -> Result<()> {
    fs::create_dir_all(path(""))?;
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "livepeer-e2e");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    write(&path("ca.crt"), &ca.self_signed(&ca_key)?.pem())?;
    write(&path("ca.key"), &ca_key.serialize_pem())?;
    let issuer = Issuer::new(ca, ca_key);

    for identity in identities() {
        let key = KeyPair::generate()?;
        let certificate = params(&identity)?.signed_by(&key, &issuer)?;
        write(&path(&format!("{}.crt", identity.file)), &certificate.pem())?;
        write(
            &path(&format!("{}.key", identity.file)),
            &key.serialize_pem(),
        )?;
    }

    let accounts = KeyPair::generate()?;
    write(&path("service-accounts.key"), &accounts.serialize_pem())?;
    write(&path("service-accounts.pub"), &accounts.public_key_pem())
}

fn identities() -> Vec<Identity> {
    vec![
        Identity::server(
            "apiserver",
            &[
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
                "localhost",
                "127.0.0.1",
                NODE_IP,
                "10.96.0.1",
            ],
        ),
        Identity::server("kubelet-server", &[NODE_NAME, NODE_IP]),
        Identity::client(
            "apiserver-kubelet",
            "kube-apiserver",
            Some("system:masters"),
        ),
        Identity::client("admin", "admin", Some("system:masters")),
        Identity::client("controller-manager", "system:kube-controller-manager", None),
        Identity::client("scheduler", "system:kube-scheduler", None),
        Identity::client("proxy", "system:kube-proxy", None),
        Identity::client("coredns", "coredns", None),
        Identity::client(
            "kubelet",
            format!("system:node:{NODE_NAME}"),
            Some("system:nodes"),
        ),
    ]
}

fn params(identity: &Identity) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(identity.names.clone())?;
    params
        .distinguished_name
        .push(DnType::CommonName, identity.common_name.clone());
    if let Some(organisation) = identity.organisation {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    Ok(params)
}

/// Writes a file that only root can read: keys and kubeconfigs.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
