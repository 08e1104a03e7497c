//! Extended attributes of files, among them `SELinux`'s label and the access list: a file that takes
//! another one's place has the same.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

/// No list of names and no value is longer (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX` of linux/limits.h).
const MOST: usize = 65_536;
/// They are of the bytes, which change: the kernel makes them anew (evm(7), IMA appraisal).
const OF_BYTES: [&CStr; 2] = [c"security.ima", c"security.evm"];

/// `SELinux`'s label. The kernel gives one to every file and lets nobody take it away
/// (`selinux_inode_removexattr`), and where the mount says which one it is, it can't be set.
const LABEL: &CStr = c"security.selinux";

/// Gives a file the extended attributes of another one, and no others but a label. To be called
/// after the owner is set, which takes capabilities away, and before the mode.
///
/// # Errors
/// One of them can't be read or given, which is named.
pub fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let (wanted, now) = (attributes(from)?, attributes(to)?);
    for (name, value) in &wanted {
        // A file may have one that its list lacks.
        if now.get(name) != Some(value) && value_of(to, name).as_ref() != Ok(value) {
            fsetxattr(to, name.as_c_str(), value, XattrFlags::empty())
                .map_err(|error| failed(name, error))?;
        }
    }
    for name in now.keys().filter(|name| is_to_go(name, &wanted)) {
        fremovexattr(to, name.as_c_str()).map_err(|error| failed(name, error))?;
    }
    Ok(())
}

fn is_to_go(name: &CStr, wanted: &BTreeMap<CString, Vec<u8>>) -> bool {
    name != LABEL && !wanted.contains_key(name)
}

fn value_of(file: &File, name: &CStr) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0_u8; MOST];
    let length = fgetxattr(file, name, &mut value)?;
    value.truncate(length);
    Ok(value)
}

fn attributes(file: &File) -> io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut list = vec![0_u8; MOST];
    let length = match flistxattr(file, &mut list) {
        // This file system has none.
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    list.truncate(length);
    let mut found = BTreeMap::new();
    for name in list.split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        if OF_BYTES.contains(&name) {
            continue;
        }
        let value = value_of(file, name).map_err(|error| failed(name, error))?;
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

fn failed(name: &CStr, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    let name = name.to_string_lossy();
    io::Error::new(
        error.kind(),
        format!("the attribute {name} of what is there can't be kept: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_label_is_never_taken_away() {
        let wanted = BTreeMap::from([(c"user.kept".to_owned(), Vec::new())]);
        assert!(!is_to_go(c"security.selinux", &wanted));
        assert!(is_to_go(c"user.other", &wanted) && !is_to_go(c"user.kept", &wanted));
    }

    #[test]
    fn a_file_gets_the_attributes_of_the_one_before_it_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create_new(dir.path().join(name)).unwrap();
        let (from, to) = (file("from"), file("to"));
        let set = |file: &File, name: &str, value: &[u8]| {
            fsetxattr(file, name, value, XattrFlags::empty())
        };
        set(&from, "user.managed", b"by puppet").unwrap();
        set(&from, "user.empty", b"").unwrap();
        set(&to, "user.managed", b"other").unwrap();
        set(&to, "user.extra", b"x").unwrap();
        // A user's access list: user:daemon:rw, as acl(5) has it in posix_acl_xattr.h.
        let entry = |tag: u16, rights: u16, id: u32| {
            [
                tag.to_le_bytes().to_vec(),
                rights.to_le_bytes().to_vec(),
                id.to_le_bytes().to_vec(),
            ]
            .concat()
        };
        let acl = [
            2_u32.to_le_bytes().to_vec(),
            entry(1, 6, u32::MAX),
            entry(2, 6, 1),
            entry(4, 4, u32::MAX),
            entry(16, 6, u32::MAX),
            entry(32, 0, u32::MAX),
        ]
        .concat();
        let has_acl = set(&from, "system.posix_acl_access", &acl).is_ok();
        copy_attributes(&from, &to).unwrap();
        let mode = from.metadata().unwrap().permissions().mode();
        to.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777))
            .unwrap();
        assert_eq!(attributes(&to).unwrap(), attributes(&from).unwrap());
        assert_eq!(attributes(&to).unwrap().len(), if has_acl { 3 } else { 2 });
        assert_eq!(to.metadata().unwrap().permissions().mode(), mode);
    }
}
