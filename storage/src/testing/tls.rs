//! A proxy that speaks TLS to clients.

use std::io;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ServerConfig, pki_types};

use super::{Server, address_of};

/// Passes what comes by TLS on to a server that speaks none, under a certificate that nobody knows.
pub struct TlsProxy {
    server: Server,
    certificate: String,
}

impl TlsProxy {
    /// Starts a proxy before the server at an endpoint such as `http://127.0.0.1:9000`.
    ///
    /// # Errors
    ///
    /// If the endpoint names no such address, no certificate can be made or no port is free.
    pub fn start(endpoint: impl AsRef<str>) -> io::Result<Self> {
        let server = address_of(endpoint.as_ref())?;
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
        let key = pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let certificate = cert.pem();
        let server = Server::start(move |client| {
            let acceptor = acceptor.clone();
            async move {
                // A client that does not like the certificate goes away.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(server).await else { return };
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        })?;
        Ok(Self { server, certificate })
    }

    /// The proxy's URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.server.address.port())
    }

    /// Its certificate in PEM, for a client that is to trust it.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }
}
