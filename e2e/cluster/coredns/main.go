// The DNS server of a test cluster: CoreDNS with nothing but what names of Services and pods need.
//
// In a module of its own, because it requires another major version of the etcd client than Kubernetes does.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func init() {
	// The order in which the plugins see a query.
	dnsserver.Directives = []string{"ready", "errors", "log", "cache", "template", "kubernetes"}
}

func main() {
	coremain.Run()
}
