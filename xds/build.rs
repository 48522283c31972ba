//! Generates the messages from `proto/`, with a compiler in Rust: no protoc is needed.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message as _;

/// Messages whose derived `Debug` would print secrets; `src/pb.rs` writes theirs.
const SECRETIVE: [&str; 11] = [
    ".agentgateway.v1.ServerTls",
    ".agentgateway.v1.BackendTls",
    ".agentgateway.v1.Header",
    ".agentgateway.v1.ApiKeyEntry",
    ".agentgateway.v1.BasicAuth",
    ".agentgateway.v1.BackendCredential",
    ".agentgateway.v1.JwtSign",
    ".agentgateway.v1.AwsSign",
    ".agentgateway.v1.AzureClientSecret",
    ".agentgateway.v1.GcpToken",
    ".agentgateway.v1.McpAuthentication",
];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["agentgateway/v1/resource.proto", "envoy/service/discovery/v3/ads.proto"];
    let mut descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .skip_debug(SECRETIVE)
        .compile_fds(descriptors.clone())?;

    // Comments are for the generated code; what is compared and looked up is the shape.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.binpb"), descriptors.encode_to_vec())?;
    Ok(())
}
