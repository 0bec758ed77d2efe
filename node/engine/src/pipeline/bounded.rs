//! An output that refuses to grow beyond the wire's limit.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use livepeer_media::JobError;
use livepeer_media::message::MAX_OUTPUT_BYTES;

/// A file that errors at the limit, before the process's own file size limit would end it.
pub(super) struct BoundedFile {
    file: File,
    position: u64,
}

impl BoundedFile {
    pub(super) fn new(file: &File) -> Result<Self, JobError> {
        let file = file
            .try_clone()
            .map_err(|error| JobError::from_text(format!("cannot write the output: {error}")))?;
        Ok(Self { file, position: 0 })
    }
}

impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.position.saturating_add(bytes.len() as u64);
        if end > MAX_OUTPUT_BYTES {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let written = self.file.write(bytes)?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for BoundedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.file.seek(to)?;
        Ok(self.position)
    }
}
