//! What somebody at a terminal learns about a cluster, without a gateway in it being asked.

use crate::scene::{BACKEND, Scene, mapping};

#[test]
fn a_cluster_is_explained_and_compared_from_outside() {
    let Some(scene) = Scene::start("explained", &[]) else { return };
    scene.apply(
        "{apiVersion: v1, kind: Secret, metadata: {name: cert}, type: kubernetes.io/tls, \
        stringData: {tls.crt: none, tls.key: none}}",
    );
    scene.apply(
        "{apiVersion: getambassador.io/v3alpha1, kind: Host, metadata: {name: tls}, \
        spec: {hostname: t.example, tlsSecret: {name: cert}}}",
    );
    scene.apply(&mapping("one", "/one/", BACKEND, ""));
    let (status, out) = scene.nuncio("why x.example /one/ --kubeconfig \"$KUBECONFIG\"");
    assert!(status == 0 && out.contains("Mapping explained/one answers: to cluster_"), "{out}");
    let context = "--context \"$(kubectl config current-context)\"";
    let (status, out) = scene.nuncio(&format!("why x.example /two/ {context}"));
    assert!(status == 1 && out.contains("404: no Mapping fits"), "{out}");

    // What would be applied, beside what is there: one Mapping more, another different, nothing gone, nothing written.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.yaml");
    let new =
        format!("{}{}", mapping("one", "/one/", BACKEND, ", timeout_ms: 7"), mapping("two", "/two/", BACKEND, ""));
    std::fs::write(&file, new).unwrap();
    let (status, out) = scene.nuncio(&format!("diff {context} {}", file.display()));
    let has = |mark: &str, text: &str| out.lines().any(|line| line.starts_with(mark) && line.contains(text));
    assert_eq!(status, 1, "{out}");
    assert!(has("object +", "Mapping explained/two") && has("route +", "/two/") && has("route ~", "/one/"), "{out}");
    assert!(!out.contains(" - "), "{out}");
    assert!(scene.object("mapping", "two").is_empty());
    let (status, out) = scene.nuncio("why x.example / --context nobody");
    assert!(status == 2 && out.contains("context `nobody`"), "{out}");
    scene.end();
}
