//! Compiles the messages with protox, so that no protoc is needed on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["net/livepeer.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // maps in key order, so that equal messages encode to equal bytes
        .btree_map(".")
        // segments are counted buffers everywhere else too
        .bytes(".net.SegData")
        .compile_fds(descriptors)?;
    Ok(())
}
