//! The messages as generated from `proto/`. Nothing outside this crate names them.

/// `agentgateway.v1`: what we say.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unused_qualifications)]
mod generated {
    tonic::include_proto!("agentgateway.v1");
}

/// The public protocol that carries it.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unused_qualifications)]
pub mod envoy {
    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    pub mod service {
        pub mod discovery {
            pub mod v3 {
                tonic::include_proto!("envoy.service.discovery.v3");
            }
        }
    }
}

/// `google.rpc`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unused_qualifications)]
pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

use std::fmt;

pub(crate) use generated::*;

/// The type URL of every resource.
pub const TYPE_URL: &str = "type.googleapis.com/agentgateway.v1.Resource";

/// The shape of every message, as a `FileDescriptorSet`.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

/// These hold keys and credentials.
macro_rules! secretive {
    ($($message:ident),*) => {
        $( impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), " { *** }"))
            }
        } )*
    };
}

secretive!(
    ServerTls,
    BackendTls,
    Header,
    ApiKeyEntry,
    BasicAuth,
    BackendCredential,
    JwtSign,
    AwsSign,
    AzureClientSecret,
    GcpToken,
    McpAuthentication
);

#[cfg(test)]
mod tests;
