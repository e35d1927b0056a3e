//! The conversion webhook: HTTPS server, certificates, and the CRDs that point to it.
