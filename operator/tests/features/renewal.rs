//! Many objects come and go, and few are left.

use crate::fixture::{BASE, Gateway, TABLE, mapping};
use xds::ResourceType;

/// Enough to start over when they are gone.
const MANY: usize = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_starts_over_sends_nothing_and_goes_on() {
    let many: String = (0..MANY).map(|index| mapping(&format!("many-{index}"), &format!("/many-{index}/"))).collect();
    let kept: String = ["a", "b"].map(|name| mapping(name, &format!("/{name}/"))).concat();
    let gateway = Gateway::start(&[("base.yaml", BASE), ("kept.yaml", &kept), ("many.yaml", &many)]);
    let mut client = gateway.client(|_| None).await;
    client.until("the routes", |seen| seen.contains(ResourceType::Route, TABLE, "/many-7/")).await;
    gateway.remove("many.yaml");
    let seen = client.until("the end", |seen| !seen.contains(ResourceType::Route, TABLE, "/many-7/")).await;
    assert!(seen.contains(ResourceType::Route, TABLE, "/a/"));
    gateway.until_metric("nuncio_renewals_total 1\n").await;
    gateway.write("c.yaml", &mapping("c", "/c/"));
    let now = client.until("an edit", |seen| seen.contains(ResourceType::Route, TABLE, "/c/")).await;
    assert!(now.contains(ResourceType::Route, TABLE, "/a/") && now.contains(ResourceType::Route, TABLE, "/b/"));
    for (kind, more) in [(ResourceType::Cluster, 0), (ResourceType::Listener, 0), (ResourceType::Route, 1)] {
        assert_eq!(now.responses[&kind], seen.responses[&kind] + more, "{kind}");
    }
}
