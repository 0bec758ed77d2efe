//! Moves an MP4's index (`moov`) before its media, so that it plays while it loads.
//!
//! libav does this by opening the finished file again by its name, which a worker has not. Only
//! our own muxer's files come here; a file of another shape is left as it is.

use std::fs::File;
use std::io::{Read, Seek, Write};

use livepeer_media::JobError;

/// Boxes on the way from `moov` to the chunk offsets.
const PARENTS: [&[u8; 4]; 4] = [b"trak", b"mdia", b"minf", b"stbl"];

/// Rewrites a finished MP4 in place.
pub(super) fn rewrite(mut file: File) -> Result<(), JobError> {
    let failed = |error| JobError::from_text(format!("cannot rewrite the output: {error}"));
    file.rewind().map_err(failed)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    if let Some(moved) = index_first(&bytes) {
        file.rewind().map_err(failed)?;
        file.write_all(&moved).map_err(failed)?;
    }
    Ok(())
}

/// The file with its index before its media; `None` when there is nothing to move.
fn index_first(file: &[u8]) -> Option<Vec<u8>> {
    let mut media_at = None;
    let mut at = 0;
    for (kind, content) in Boxes(file) {
        let whole = 8 + content.len();
        match (&kind, media_at) {
            (b"mdat", None) => media_at = Some(at),
            (b"moov", Some(media_at)) => {
                let mut index = file.get(at..at + whole)?.to_vec();
                let shift = u32::try_from(whole).ok()?;
                shift_offsets(index.get_mut(8..)?, shift);
                let mut moved = Vec::with_capacity(file.len());
                moved.extend_from_slice(file.get(..media_at)?);
                moved.extend_from_slice(&index);
                moved.extend_from_slice(file.get(media_at..at)?);
                moved.extend_from_slice(file.get(at + whole..)?);
                return Some(moved);
            }
            (b"moov", None) => return None,
            _ => {}
        }
        at += whole;
    }
    None
}

/// Kind and content of each box; ends at the first that does not fit.
struct Boxes<'a>(&'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let size = u32::from_be_bytes(self.0.get(..4)?.try_into().ok()?);
        let kind = self.0.get(4..8)?.try_into().ok()?;
        let size = usize::try_from(size).ok()?;
        let content = self.0.get(8..size)?;
        self.0 = self.0.get(size..)?;
        Some((kind, content))
    }
}

/// Adds `shift` to every chunk offset inside a box's content.
fn shift_offsets(content: &mut [u8], shift: u32) {
    let mut at = 0;
    loop {
        let Some((kind, length)) = content
            .get(at..)
            .and_then(|rest| Boxes(rest).next())
            .map(|(kind, content)| (kind, content.len()))
        else {
            return;
        };
        let Some(inside) = content.get_mut(at + 8..at + 8 + length) else {
            return;
        };
        if PARENTS.contains(&&kind) {
            shift_offsets(inside, shift);
        } else if &kind == b"stco" {
            // Version and flags, count, then 32-bit offsets.
            for offset in inside.iter_mut().skip(8).collect::<Vec<_>>().chunks_mut(4) {
                if let [a, b, c, d] = offset {
                    let moved = u32::from_be_bytes([**a, **b, **c, **d]).wrapping_add(shift);
                    [**a, **b, **c, **d] = moved.to_be_bytes();
                }
            }
        }
        at += 8 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(8 + content.len()).unwrap();
        [&size.to_be_bytes(), kind.as_slice(), content].concat()
    }

    fn index(offset: u32) -> Vec<u8> {
        let stco = make(
            b"stco",
            &[&[0; 4][..], &1u32.to_be_bytes(), &offset.to_be_bytes()].concat(),
        );
        let nested = PARENTS
            .iter()
            .rev()
            .fold(stco, |inside, kind| make(kind, &inside));
        make(b"moov", &nested)
    }

    #[test]
    fn the_index_moves_before_the_media_and_its_offsets_follow() {
        let ftyp = make(b"ftyp", b"isom");
        let mdat = make(b"mdat", b"picture");
        let offset = u32::try_from(ftyp.len() + 8).unwrap();
        let file = [ftyp.clone(), mdat.clone(), index(offset)].concat();
        let moved = index_first(&file).unwrap();
        let shift = u32::try_from(index(0).len()).unwrap();
        assert_eq!(moved, [ftyp, index(offset + shift), mdat].concat());
    }

    #[test]
    fn a_file_with_its_index_first_or_cut_off_is_left_alone() {
        let file = [index(8), make(b"mdat", b"x")].concat();
        assert_eq!(index_first(&file), None);
        for length in 0..file.len() {
            let _ = index_first(&file[..length]);
        }
    }
}
