//! Which servers are trusted over TLS, and what is shown to them.
//!
//! A server whose self-signed certificate may sign others is what `openssl req -x509` makes, and what
//! documentation of registries tells to make; its certificate is then named as the CA. Engines take it
//! (Go, crypto/x509: a leaf that is itself among the roots). rustls takes no CA's certificate for a
//! server's, so that such a one is compared with the named ones here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_native_certs::load_native_certs;
use x509_cert::Certificate as X509;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::ExtendedKeyUsage;

use super::setup::ClientError;

/// `id-kp-serverAuth` and `anyExtendedKeyUsage` (RFC 5280, section 4.2.1.12).
const OF_SERVERS: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
    ObjectIdentifier::new_unwrap("2.5.29.37.0"),
];

/// The CAs that count.
#[derive(Debug, Clone, Copy)]
pub(super) enum TrustedCas<'a> {
    /// Those of this PEM alone.
    Only(&'a [u8]),
    /// The system's.
    System,
    /// The system's and those of this PEM.
    SystemAnd(&'a [u8]),
}

/// TLS of a client. `identity`: PEM of a certificate and its key, which are shown to who asks for them.
///
/// # Errors
/// One of the PEM texts has nothing that can be used, or the system has no CAs.
pub(super) fn config(
    trusted: TrustedCas<'_>,
    identity: Option<&[u8]>,
) -> Result<ClientConfig, ClientError> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let tls = |error: &dyn std::fmt::Display| ClientError::Tls(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(&error))?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustedServers::new(trusted, provider)?));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let (chain, key) = identity_of(pem)?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| ClientError::Identity(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| ClientError::Ca(error.to_string()))?;
    if all.is_empty() {
        return Err(ClientError::Ca("no certificate in it".to_owned()));
    }
    Ok(all)
}

fn identity_of(
    pem: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ClientError> {
    let unusable = |error: &dyn std::fmt::Display| ClientError::Identity(error.to_string());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| unusable(&error))?;
    if chain.is_empty() {
        return Err(unusable(&"no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(pem);
    let key = key.map_err(|_| unusable(&"no private key in it that can be used"))?;
    Ok((chain, key))
}

/// Takes servers whose certificate a trusted CA signed, or is itself one of the trusted ones.
#[derive(Debug)]
struct TrustedServers {
    by_chain: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
    /// Whether the system's count too.
    system: bool,
}

impl TrustedServers {
    fn new(trusted: TrustedCas<'_>, provider: Arc<CryptoProvider>) -> Result<Self, ClientError> {
        let (named, system) = match trusted {
            TrustedCas::Only(pem) => (certificates(pem)?, false),
            TrustedCas::System => (Vec::new(), true),
            TrustedCas::SystemAnd(pem) => (certificates(pem)?, true),
        };
        let mut roots = RootCertStore::empty();
        for certificate in &named {
            let added = roots.add(certificate.clone());
            added.map_err(|error| ClientError::Ca(error.to_string()))?;
        }
        if system {
            let store = load_native_certs();
            for error in store.errors {
                log::warn!("the system's store of CAs: {error}");
            }
            roots.add_parsable_certificates(store.certs);
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let by_chain = verifier.build();
        Ok(Self {
            by_chain: by_chain.map_err(|error| ClientError::Tls(error.to_string()))?,
            named,
            system,
        })
    }

    fn names(&self, certificate: &CertificateDer<'_>) -> bool {
        // Read anew: it is looked for only where a connection would fail otherwise.
        let of_system = || load_native_certs().certs;
        self.named.contains(certificate) || self.system && of_system().contains(certificate)
    }
}

/// Whether a certificate that is trusted itself is that server's, now.
fn is_of_server(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    let malformed = |_| Error::from(CertificateError::BadEncoding);
    let read = X509::from_der(certificate).map_err(malformed)?;
    let body = read.tbs_certificate();
    let (from, until) = (body.validity().not_before, body.validity().not_after);
    if now.as_secs() < from.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > until.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    let usage = body.get_extension::<ExtendedKeyUsage>();
    let usage = usage.map_err(malformed)?;
    if usage.is_some_and(|(_, usage)| !usage.0.iter().any(|usage| OF_SERVERS.contains(usage))) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    Ok(())
}

impl ServerCertVerifier for TrustedServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by_chain = self.by_chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if by_chain.is_ok() || !self.names(end_entity) {
            return by_chain;
        }
        is_of_server(end_entity, server_name, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_chain
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_chain
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    /// As `openssl req -x509` makes it: it may sign others.
    fn self_signed(
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, CertificateDer<'static>) {
        let mut params = CertificateParams::new(["registry.test".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let text = STANDARD.encode(made.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        (pem, made.der().clone())
    }

    fn judged(
        trusted: TrustedCas<'_>,
        certificate: &CertificateDer<'_>,
        name: &str,
        year: i32,
    ) -> Result<(), Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let servers = TrustedServers::new(trusted, provider).unwrap();
        let seconds = rcgen::date_time_ymd(year, 6, 1).unix_timestamp();
        let now =
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.try_into().unwrap()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let judged = servers.verify_server_cert(certificate, &[], &name, &[], now);
        judged.map(|_| ())
    }

    #[test]
    fn a_server_s_own_certificate_that_is_named_as_the_ca_is_taken_for_its_name_and_time() {
        let dates = |params: &mut CertificateParams| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        };
        let (pem, own) = self_signed(dates);
        let (other_pem, other) = self_signed(dates);
        let only = TrustedCas::Only(pem.as_bytes());
        let both = format!("{other_pem}{pem}");
        for trusted in [only, TrustedCas::Only(both.as_bytes())] {
            assert_eq!(judged(trusted, &own, "registry.test", 2026), Ok(()));
        }
        assert!(judged(only, &other, "registry.test", 2026).is_err());
        assert!(judged(only, &own, "other.test", 2026).is_err());
        for (year, wanted) in [
            (2019, CertificateError::NotValidYet),
            (2031, CertificateError::Expired),
        ] {
            let refused = judged(only, &own, "registry.test", year);
            assert_eq!(refused, Err(wanted.into()), "{year}");
        }
    }

    #[test]
    fn a_named_certificate_for_clients_is_no_server_s() {
        for (purpose, taken) in [
            (ExtendedKeyUsagePurpose::ClientAuth, false),
            (ExtendedKeyUsagePurpose::ServerAuth, true),
            (ExtendedKeyUsagePurpose::Any, true),
        ] {
            let (pem, own) = self_signed(|params| {
                params.extended_key_usages = vec![purpose.clone()];
            });
            let trusted = TrustedCas::Only(pem.as_bytes());
            let judged = judged(trusted, &own, "registry.test", 2026);
            assert_eq!(judged.is_ok(), taken, "{purpose:?} {judged:?}");
        }
    }
}
