// An example policy in Go: what a certificate must be like to go live.
//
//	config = { minimum-days-left = 7, issuers = ["CN=Example CA"], minimum-rsa-bits = 3072 }
//
// The gateway itself refuses a certificate that is expired or does not fit its key. This policy refuses one that will soon
// be expired, so that a renewal that went wrong is noticed while the old certificate still serves; one from an issuer that
// is not on the list, as a test authority's; and one with a short RSA key. What it is not told to look at it lets pass.
package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handfast/handfast/plugins/sdk/go"
	"github.com/handfast/handfast/plugins/sdk/go/onadmit"
	"github.com/handfast/handfast/plugins/sdk/go/onconfigure"
)

type settings struct {
	MinimumDaysLeft int      `json:"minimum-days-left"`
	Issuers         []string `json:"issuers"`
	MinimumRSABits  uint32   `json:"minimum-rsa-bits"`
}

var wanted settings

func init() {
	onconfigure.Call(configure)
	onadmit.Call(admit)
}

func configure(config string) error {
	wanted = settings{}
	if err := onconfigure.Strictly(config, &wanted); err != nil {
		return err
	}
	if wanted.MinimumDaysLeft < 0 {
		return errors.New("minimum-days-left is negative")
	}
	return nil
}

func admit(certificate handfast.Certificate) error {
	if wanted.MinimumDaysLeft > 0 {
		left := time.Until(time.Unix(certificate.NotAfter(), 0))
		if left < time.Duration(wanted.MinimumDaysLeft)*24*time.Hour {
			days := int(left.Hours() / 24)
			return fmt.Errorf("it expires in %d days, and %d are wanted", days, wanted.MinimumDaysLeft)
		}
	}
	if issuer := certificate.Issuer(); len(wanted.Issuers) > 0 && !slices.Contains(wanted.Issuers, issuer) {
		return fmt.Errorf("its issuer %s is not on the list", issuer)
	}
	if bits := certificate.KeyBits(); certificate.KeyAlgorithm() == handfast.RSA && bits < wanted.MinimumRSABits {
		return fmt.Errorf("its RSA key has %d bits, and %d are wanted", bits, wanted.MinimumRSABits)
	}
	return nil
}

func main() {}
