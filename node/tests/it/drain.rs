//! The end of a process that somebody could hold up.

use std::io::Write as _;
use std::net::TcpStream;

use crate::node::{Node, free};

#[test]
fn a_request_that_is_never_whole_does_not_hold_up_the_end() {
    let [nobody] = free();
    let gateway = Node::gateway(&[nobody], "");
    let _open = [gateway.addr, gateway.probes].map(|addr| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
        stream
    });
    assert_eq!(gateway.terminate().code(), Some(0));
}
