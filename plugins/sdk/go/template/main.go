package main

import (
	"slices"

	"github.com/handfast/handfast/plugins/sdk/go"
	"github.com/handfast/handfast/plugins/sdk/go/onconfigure"
	"github.com/handfast/handfast/plugins/sdk/go/onselect"
)

var settings struct {
	Names []string `json:"tls13-only"`
}

func init() {
	onconfigure.Call(func(config string) error { return onconfigure.Strictly(config, &settings) })
	onselect.Call(choose)
}

func choose(connection handfast.Connection, hello handfast.ClientHello) handfast.Decision {
	name, _ := hello.ServerName()
	if slices.Contains(settings.Names, name) && !slices.Contains(hello.ProtocolVersions(), 0x0304) {
		handfast.Logf(handfast.Info, "%s is too old", connection.ClientAddress().Addr())
		return handfast.Reject(handfast.ProtocolVersion).Because("this name is for TLS 1.3 only")
	}
	return handfast.Pass()
}

func main() {}
