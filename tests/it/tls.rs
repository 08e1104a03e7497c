//! A private CA, and servers whose certificates it signs.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// A CA that no system's store knows.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    pub(crate) fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// A server of this machine that offers these protocols, the best first.
    pub(crate) fn server(&self, protocols: &[&str]) -> TlsAcceptor {
        self.acceptor(protocols, false)
    }

    /// The same, and it lets in only clients whose certificate this CA signed.
    pub(crate) fn server_for_clients(&self, protocols: &[&str]) -> TlsAcceptor {
        self.acceptor(protocols, true)
    }

    /// A client that this CA knows.
    pub(crate) fn client(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["client".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
        }
    }

    /// A server of that name, whose certificate ends with that year's first day.
    pub(crate) fn server_of(&self, name: &str, ends: i32) -> TlsAcceptor {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(ends, 1, 1);
        self.of(&params, &["http/1.1"], false)
    }

    fn acceptor(&self, protocols: &[&str], clients: bool) -> TlsAcceptor {
        let names = ["127.0.0.1", "::1", "localhost", "registry.test"].map(str::to_owned);
        self.of(&CertificateParams::new(names).unwrap(), protocols, clients)
    }

    fn of(&self, params: &CertificateParams, protocols: &[&str], clients: bool) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.der.clone().into()).unwrap();
            ServerConfig::builder().with_client_cert_verifier(
                WebPkiClientVerifier::builder(Arc::new(roots))
                    .build()
                    .unwrap(),
            )
        } else {
            ServerConfig::builder().with_no_client_auth()
        };
        let mut config = builder
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let lines: Vec<String> = STANDARD
        .encode(der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
