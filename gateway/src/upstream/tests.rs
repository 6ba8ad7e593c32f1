//! Pools over configuration changes; requests through them are tested where they are made, in `http`.

use super::*;

fn upstream(name: &str, idle: usize) -> Arc<config::Upstream> {
    Arc::new(config::Upstream {
        name: name.to_owned(),
        endpoints: vec!["127.0.0.1:1".to_owned()],
        protocol: config::Protocol::Http1,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        max_idle: idle,
    })
}

#[tokio::test]
async fn an_unchanged_upstream_keeps_its_pool_and_a_changed_one_does_not() {
    let pools = Pools::new();
    let first = pools.pool(&upstream("a", 1));
    assert!(Arc::ptr_eq(&first, &pools.pool(&upstream("a", 1))));
    assert!(!Arc::ptr_eq(&first, &pools.pool(&upstream("a", 2))));
}

#[tokio::test]
async fn removed_upstreams_are_forgotten() {
    let pools = Pools::new();
    let (kept, removed) = (pools.pool(&upstream("a", 1)), Arc::downgrade(&pools.pool(&upstream("b", 1))));
    pools.retain(&[upstream("a", 1)]);
    assert!(removed.upgrade().is_none());
    assert!(Arc::ptr_eq(&kept, &pools.pool(&upstream("a", 1))));
}
