//! Compiled code on disk: found again, never trusted blindly.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use handfast_plugin_host::{Host, HostSettings};

use crate::guest::selecting;

fn host(directory: &Path) -> Host {
    let code_cache = Some(directory.to_path_buf());
    Host::new(HostSettings { code_cache, max_instances: 1, ..HostSettings::default() }).unwrap()
}

fn images(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_second_host_finds_what_the_first_compiled() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("code");
    let bytes = selecting("");
    let first = host(&directory);
    assert!(!first.is_cached(&bytes));
    first.load("under-test", &bytes).unwrap();

    let kept = images(&directory);
    assert_eq!((kept.len(), mode(&directory), mode(&kept[0])), (1, 0o700, 0o600));
    let second = host(&directory);
    assert!(second.is_cached(&bytes));
    assert!(!second.is_cached(&selecting("nop")));
    second.load("under-test", &bytes).unwrap();
    assert_eq!(images(&directory), kept);
}

#[tokio::test]
async fn an_image_of_another_host_runs_in_one_with_a_pool_of_another_size() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = selecting("");
    let settings = HostSettings {
        code_cache: Some(directory.path().into()),
        max_instances: 7,
        ..HostSettings::default()
    };
    Host::new(settings).unwrap().load("under-test", &bytes).unwrap();
    let host = host(directory.path());
    assert!(host.is_cached(&bytes));
    let plugin = host.load("under-test", &bytes).unwrap();
    let policy = handfast_plugin_host::Policy::new(&plugin, crate::views::settings()).await.unwrap();
    crate::views::select(&policy).await.unwrap();
}

/// Once it was: found unusable, with a warning, at each start, and compiled again.
#[test]
fn what_no_instance_has_room_for_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let huge = b"(component (core module $m (memory 65536)) (core instance (instantiate $m))
        (instance $it) (export \"handfast:policy/select@1.0.0\" (instance $it)))";
    let Err(error) = host(directory.path()).load("under-test", huge) else { panic!("it was loaded") };
    assert!(matches!(error, handfast_plugin_host::LoadError::DoesNotFit(_)), "{error}");
    assert!(images(directory.path()).is_empty());
}

#[test]
fn a_damaged_image_is_compiled_anew() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = selecting("");
    host(directory.path()).load("under-test", &bytes).unwrap();
    let image = images(directory.path()).remove(0);
    let good = fs::read(&image).unwrap();

    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for bad in [damaged, good[..good.len() / 2].to_vec(), Vec::new()] {
        fs::write(&image, bad).unwrap();
        host(directory.path()).load("under-test", &bytes).unwrap();
        assert_eq!(images(directory.path()), std::slice::from_ref(&image));
        assert_eq!(fs::read(&image).unwrap(), good);
    }
}

#[test]
fn a_directory_that_others_can_write_is_not_used() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("code");
    fs::create_dir(&directory).unwrap();
    for (path, bad) in [(directory.as_path(), 0o770), (parent.path(), 0o707)] {
        let good = mode(path);
        fs::set_permissions(path, fs::Permissions::from_mode(bad)).unwrap();
        host(&directory).load("under-test", &selecting("")).unwrap();
        assert!(images(&directory).is_empty(), "{} with mode {bad:o}", path.display());
        fs::set_permissions(path, fs::Permissions::from_mode(good)).unwrap();
    }
    host(&directory).load("under-test", &selecting("")).unwrap();
    assert_eq!(images(&directory).len(), 1);
}
