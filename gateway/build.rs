//! Generates the messages of the protocols that policies call out with, with a compiler in Rust: no protoc is needed.

use std::error;

const PROTO: &str = "src/upstream/callout/proto";

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let files =
        ["envoy/service/auth/v3/auth.proto", "envoy/service/ratelimit/v3/rls.proto", "agentgateway/dev/ext_mcp.proto"];
    let descriptors = protox::compile(files, [PROTO])?;
    prost_build::Config::new().bytes(["."]).include_file("callouts.rs").compile_fds(descriptors)?;
    Ok(())
}
