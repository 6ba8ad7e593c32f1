//! Which pairs are found in a tree.

use super::*;

fn tree(root: &Path) -> Tree {
    Tree::new(root.to_owned(), "files", false)
}

fn touch(root: &Path, paths: &[&str]) {
    for path in paths {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
}

fn ids(look: &Look) -> Vec<(String, Vec<String>)> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut ids: Vec<_> = look
        .candidates
        .iter()
        .map(|candidate| (candidate.id.to_string(), candidate.files.iter().map(name).collect()))
        .collect();
    ids.sort();
    ids
}

fn expected(pairs: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    pairs
        .iter()
        .map(|(id, files)| (id.to_string(), files.iter().map(|file| file.to_string()).collect()))
        .collect()
}

#[test]
fn every_layout_is_found() {
    let root = tempfile::tempdir().unwrap();
    touch(
        root.path(),
        &[
            "a.crt",
            "a.key",
            "b.pem",
            "b.key",
            "both.pem",
            "bundle.pem.ecdsa",
            "bundle.pem.rsa",
            "haproxy.pem",
            "haproxy.pem.key",
            "installed/cert.pem",
            "installed/key.pem",
            "issuer.crt",
            "lone.key",
            "live/c.example/fullchain.pem",
            "live/c.example/privkey.pem",
            "live/c.example/cert.pem",
            "live/c.example/chain.pem",
            "live/c.example/README",
            "secret/..2024/tls.crt",
            "secret/tls.crt",
            "secret/tls.key",
            "acme/d.example_ecc/d.example.cer",
            "acme/d.example_ecc/d.example.key",
            "acme/d.example_ecc/d.example.conf",
            "acme/d.example_ecc/ca.cer",
            "acme/d.example_ecc/fullchain.cer",
            "lego/_.e.example.crt",
            "lego/_.e.example.key",
            "lego/_.e.example.issuer.crt",
            "lego/_.e.example.json",
            "lego/_.e.example.pem",
        ],
    );
    let look = tree(root.path()).look().unwrap();
    assert_eq!(
        ids(&look),
        expected(&[
            ("a", &["a.crt", "a.key"]),
            ("acme/d.example_ecc", &["fullchain.cer", "d.example.key"]),
            ("b", &["b.pem", "b.key"]),
            ("both", &["both.pem"]),
            ("bundle.ecdsa", &["bundle.pem.ecdsa"]),
            ("bundle.rsa", &["bundle.pem.rsa"]),
            ("haproxy", &["haproxy.pem", "haproxy.pem.key"]),
            ("installed", &["cert.pem", "key.pem"]),
            ("lego/_.e.example", &["_.e.example.crt", "_.e.example.key"]),
            ("live/c.example", &["fullchain.pem", "privkey.pem"]),
            ("secret", &["tls.crt", "tls.key"]),
        ])
    );
    assert!(matches!(&look.left_out[..], [LeftOut::LoneKey { path }] if path.ends_with("lone.key")));
}

#[test]
fn files_beside_a_pair_are_named_like_its_certificate() {
    let beside = |files: &[&str], with_ocsp| -> Vec<String> {
        let candidate = Candidate { id: "a".into(), files: files.iter().map(PathBuf::from).collect() };
        candidate.beside(with_ocsp).iter().map(|path| path.display().to_string()).collect()
    };
    assert_eq!(beside(&["www.a.example.crt", "k"], true), ["www.a.example.toml", "www.a.example.ocsp"]);
    assert_eq!(beside(&["a.pem"], true), ["a.toml", "a.ocsp", "a.pem.ocsp"]);
    assert_eq!(beside(&["a/fullchain.pem", "k"], false), ["a/fullchain.toml"]);
    assert_eq!(beside(&["a.pem.rsa"], true), ["a.pem.rsa.toml", "a.pem.rsa.ocsp"]);
}

#[test]
fn a_pair_in_the_sources_own_folder_has_its_name_and_several_sources_prefix_theirs() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["tls.crt", "tls.key", "a/b.crt", "a/b.key"]);
    let look = Tree::new(root.path().to_owned(), "files", true).look().unwrap();
    assert_eq!(
        ids(&look),
        expected(&[("files:a/b", &["b.crt", "b.key"]), ("files:files", &["tls.crt", "tls.key"])])
    );
}

#[test]
fn a_second_look_lists_only_what_changed() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["a/a.crt", "a/a.key", "b/b.crt", "b/b.key"]);
    let mut tree = tree(root.path());
    // Folders made within the clock's last tick are listed again, so look until they are older than that.
    while !tree.look().unwrap().candidates.is_empty() {}
    touch(root.path(), &["b/c.pem"]);
    let look = tree.look().unwrap();
    assert_eq!(ids(&look), expected(&[("b/b", &["b.crt", "b.key"]), ("b/c", &["c.pem"])]));
    assert_eq!(look.folders, 3);
    std::fs::remove_dir_all(root.path().join("a")).unwrap();
    assert_eq!(tree.look().unwrap().folders, 2);
}

#[test]
fn a_link_is_followed_once_it_leads_somewhere() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    touch(root.path(), &["a.pem"]);
    for name in ["later", "file.pem"] {
        std::os::unix::fs::symlink(elsewhere.path().join(name), root.path().join(name)).unwrap();
    }
    let mut tree = tree(root.path());
    while !tree.look().unwrap().candidates.is_empty() {}
    touch(elsewhere.path(), &["later/b.pem", "file.pem"]);
    let look = tree.look().unwrap();
    assert_eq!(ids(&look), expected(&[("later/b", &["b.pem"])]));
    assert!(look.left_out.is_empty(), "{:?}", look.left_out);
}

#[test]
fn of_certbots_whole_folder_what_is_live_is_found() {
    let root = tempfile::tempdir().unwrap();
    let parts = ["cert", "chain", "fullchain", "privkey"];
    for part in parts {
        touch(
            root.path(),
            &[&format!("archive/a.example/{part}1.pem"), &format!("archive/a.example/{part}2.pem")],
        );
    }
    touch(
        root.path(),
        &[
            "accounts/acme-v02.api.letsencrypt.org/directory/1/private_key.json",
            "cli.ini",
            "csr/0000_csr-certbot.pem",
            "keys/0000_key-certbot.pem",
            "live/README",
            "live/a.example/README",
            "options-ssl-nginx.conf",
            "renewal/a.example.conf",
            "renewal-hooks/deploy/reload.sh",
        ],
    );
    for part in parts {
        let target = format!("../../archive/a.example/{part}2.pem");
        std::os::unix::fs::symlink(target, root.path().join(format!("live/a.example/{part}.pem"))).unwrap();
    }
    let look = tree(root.path()).look().unwrap();
    assert_eq!(ids(&look), expected(&[("live/a.example", &["fullchain.pem", "privkey.pem"])]));
    assert!(look.left_out.is_empty(), "{:?}", look.left_out);
}

/// A look that found a folder unchanged was silent about its files, so a scan after it took them for put right.
#[test]
fn what_is_left_out_is_told_at_each_look_until_it_is_put_right() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["a/lone.key", "b/b.pem"]);
    let mut tree = tree(root.path());
    // Until no folder may have changed unseen.
    while !tree.look().unwrap().listed.is_empty() {}
    let look = tree.look().unwrap();
    assert!(look.listed.is_empty(), "{look:?}");
    assert!(matches!(&look.left_out[..], [LeftOut::LoneKey { path }] if path.ends_with("a/lone.key")));
    touch(root.path(), &["a/lone.crt"]);
    assert!(tree.look().unwrap().left_out.is_empty());
}

#[test]
fn a_key_of_mkcert_is_no_pair_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    touch(
        root.path(),
        &["a.example+1.pem", "a.example+1-key.pem", "b-key.pem", "c.pem", "c.key", "c-key.pem"],
    );
    assert_eq!(
        ids(&tree(root.path()).look().unwrap()),
        expected(&[
            ("a.example+1", &["a.example+1.pem", "a.example+1-key.pem"]),
            ("b-key", &["b-key.pem"]),
            ("c", &["c.pem", "c.key"]),
            ("c-key", &["c-key.pem"]),
        ])
    );
}

#[test]
fn the_root_alone_is_looked_at_without_its_folders() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["a.pem", "deep/b.pem"]);
    assert_eq!(ids(&tree(root.path()).look_at_root().unwrap()), expected(&[("a", &["a.pem"])]));
}

#[test]
fn links_are_followed_but_not_in_circles_nor_without_end() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["a/a.pem", "1/2/3/4/5/6/7/8/9/deep.pem"]);
    std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).unwrap();
    std::os::unix::fs::symlink(root.path().join("a"), root.path().join("b")).unwrap();
    let look = tree(root.path()).look().unwrap();
    assert_eq!(ids(&look), expected(&[("a/a", &["a.pem"]), ("b/a", &["a.pem"])]));
    assert!(matches!(&look.left_out[..], [LeftOut::Deep { path }] if path.ends_with("8/9")));
    assert!(tree(&root.path().join("none")).look().is_err());
}
