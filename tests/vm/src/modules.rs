//! Which kernel modules go into the guest, in which order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{At, Error, Result};

/// Modules by name, without those that are part of the kernel itself.
pub(crate) struct Modules {
    files: HashMap<String, PathBuf>,
    builtin: Vec<String>,
}

impl Modules {
    /// All modules below a directory.
    pub(crate) fn below(directory: &Path) -> Result<Modules> {
        let mut modules = Modules {
            files: HashMap::new(),
            builtin: Vec::new(),
        };
        let mut left = vec![directory.to_path_buf()];
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(&directory).at("read directory", &directory)? {
                let path = entry.at("read directory", &directory)?.path();
                if path.is_dir() && !path.is_symlink() {
                    left.push(path);
                } else if path.ends_with("modules.builtin") {
                    let text = std::fs::read_to_string(&path).at("read", &path)?;
                    modules
                        .builtin
                        .extend(text.lines().filter_map(|line| name_of(Path::new(line))));
                } else if let Some(name) = name_of(&path) {
                    modules.files.insert(name, path);
                }
            }
        }
        Ok(modules)
    }

    /// The files of these modules and of what they need, each after what it needs.
    pub(crate) fn in_order(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for name in names {
            self.add(&name.replace('-', "_"), &mut order)?;
        }
        Ok(order)
    }

    /// Modules do not need each other in circles: the kernel could not load them.
    fn add(&self, name: &str, order: &mut Vec<PathBuf>) -> Result<()> {
        let Some(file) = self.files.get(name) else {
            if self.builtin.iter().any(|builtin| builtin == name) {
                return Ok(());
            }
            return Err(Error::Unable(format!(
                "the guest's kernel has no module {name}, neither built in nor as a file"
            )));
        };
        if order.contains(file) {
            return Ok(());
        }
        let content = std::fs::read(file).at("read", file)?;
        for needed in needs(&content) {
            self.add(&needed, order)?;
        }
        order.push(file.clone());
        Ok(())
    }
}

/// A module's name: that of its file, with the underscores that the kernel prefers.
fn name_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?.strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// The names in a module's own note of what it needs: `depends=a,b` between zero bytes.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let list = &module[at + KEY.len()..];
    let end = list.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&list[..end.unwrap_or(0)])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join("6.1/kernel").join(name);
        std::fs::create_dir_all(at("net")).unwrap();
        std::fs::write(at("net/a-b.ko"), b"\x7fELF\0depends=c,virtio\0x").unwrap();
        std::fs::write(at("c.ko"), b"\0depends=\0").unwrap();
        std::fs::write(at("d.ko"), b"\0license=GPL\0depends=c,a-b\0").unwrap();
        std::fs::write(
            scratch.path().join("6.1/modules.builtin"),
            "kernel/drivers/virtio/virtio.ko\n",
        )
        .unwrap();
        let modules = Modules::below(scratch.path()).unwrap();
        assert_eq!(
            modules.in_order(&["a_b", "d", "virtio"]).unwrap(),
            [at("c.ko"), at("net/a-b.ko"), at("d.ko")]
        );
        let error = modules.in_order(&["e"]).unwrap_err().to_string();
        assert!(error.contains("no module e"), "{error}");
    }
}
