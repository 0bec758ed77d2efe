//! A network between two processes, with scissors.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Passes connections on. Its threads end with the connections, or with the test.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    wires: Arc<Wires>,
}

#[derive(Default)]
struct Wires {
    open: Mutex<Vec<TcpStream>>,
    dead: AtomicBool,
    closed: AtomicBool,
}

impl Proxy {
    /// Listens on `listener` and passes on to `target`.
    pub(crate) fn new(listener: TcpListener, target: SocketAddr) -> Self {
        let addr = listener.local_addr().unwrap();
        let wires = Arc::new(Wires::default());
        let known = Arc::clone(&wires);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if known.closed.load(Ordering::Relaxed) {
                    continue;
                }
                if let Ok(far) = TcpStream::connect(target) {
                    pass(&near, &far, Arc::clone(&known));
                    pass(&far, &near, Arc::clone(&known));
                    known.open.lock().unwrap().extend([near, far]);
                }
            }
        });
        Self { addr, wires }
    }

    /// Ends every connection; new ones are passed on again.
    pub(crate) fn cut(&self) {
        for stream in self.wires.open.lock().unwrap().drain(..) {
            // the other side may have been quicker
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on new connections end at once; those that are open go on.
    pub(crate) fn close(&self) {
        self.wires.closed.store(true, Ordering::Relaxed);
    }

    /// From now on nothing arrives, and nobody is told.
    pub(crate) fn go_dead(&self) {
        self.wires.dead.store(true, Ordering::Relaxed);
    }
}

fn pass(from: &TcpStream, to: &TcpStream, wires: Arc<Wires>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let dead = wires.dead.load(Ordering::Relaxed);
            if !dead && to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        if !wires.dead.load(Ordering::Relaxed) {
            let _ = to.shutdown(Shutdown::Both);
        }
    });
}
