// The first certificate for the server name that the client can use, else no opinion.
package main

import (
	"github.com/handfast/handfast/plugins/sdk/go"
	"github.com/handfast/handfast/plugins/sdk/go/onselect"
)

func init() {
	onselect.Call(choose)
}

func choose(_ handfast.Connection, hello handfast.ClientHello) handfast.Decision {
	name, ok := hello.ServerName()
	if !ok {
		return handfast.Pass()
	}
	for _, certificate := range handfast.FindCertificates(name) {
		if certificate.UsableBy(hello) {
			return handfast.Answer(certificate)
		}
	}
	return handfast.Pass()
}

func main() {}
