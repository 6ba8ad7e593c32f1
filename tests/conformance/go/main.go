// The conformance policy in Go: ../README.md says what it does.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/plugins/sdk/go"
	"github.com/handfast/handfast/plugins/sdk/go/counter"
	"github.com/handfast/handfast/plugins/sdk/go/keyvalue"
	"github.com/handfast/handfast/plugins/sdk/go/onadmit"
	"github.com/handfast/handfast/plugins/sdk/go/onconfigure"
	"github.com/handfast/handfast/plugins/sdk/go/onselect"
	"github.com/handfast/handfast/plugins/sdk/go/onvalidate"
)

var greeting string

// What Go's monotonic clock can be compared with, and no policy sees but by a difference.
var started = time.Now()

func init() {
	onconfigure.Call(func(config string) error {
		var table struct {
			Fail     *string
			Greeting string
		}
		if err := json.Unmarshal([]byte(config), &table); err != nil {
			return err
		}
		if table.Fail != nil {
			return errors.New(*table.Fail)
		}
		greeting = table.Greeting
		return nil
	})
	onselect.Call(choose)
	onvalidate.Call(validate)
	onadmit.Call(admit)
}

func choose(connection handfast.Connection, hello handfast.ClientHello) handfast.Decision {
	verb, rest, _ := strings.Cut(connection.Listener(), " ")
	first, second, _ := strings.Cut(rest, " ")
	switch verb {
	case "pass":
		return handfast.Pass()
	case "drop":
		return handfast.Drop()
	case "reject":
		number, _ := strconv.Atoi(rest)
		return handfast.Reject(handfast.Alert(number)).Because("told to reject")
	case "passthrough":
		return handfast.Passthrough(rest)
	case "answer":
		return handfast.AnswerWithID(rest)
	case "echo":
		return handfast.Pass().Because(rest)
	case "greeting":
		return handfast.Pass().Because(greeting)
	case "report":
		report(connection, hello)
		return handfast.Pass()
	case "find":
		return answer(handfast.FindCertificates(rest), hello)
	case "tagged":
		return answer(handfast.TaggedCertificates(first, second), hello)
	case "by-id":
		return answerOne(handfast.CertificateByID(rest))(hello)
	case "fallback":
		return answerOne(handfast.FallbackCertificate())(hello)
	case "log":
		for line := range 20 {
			handfast.Logf(handfast.Level(line%5), "line %d", line)
		}
		return handfast.Pass()
	case "count":
		number, _ := strconv.ParseUint(second, 10, 64)
		counter.Add(first, number)
		return handfast.Pass()
	case "store":
		return handfast.Pass().Because(store())
	case "clock":
		return handfast.Pass().Because(fmt.Sprint(time.Now().Unix(), time.Since(started).Nanoseconds()))
	case "random":
		number := make([]byte, 8)
		rand.Read(number) // As the SDK says, from the same source. It does not fail.
		one, other := hex.EncodeToString(handfast.Random(16)), hex.EncodeToString(handfast.Random(16))
		return handfast.Pass().Because(fmt.Sprint(one, " ", other, " ", hex.EncodeToString(number)))
	case "hash":
		return handfast.Pass().Because(fmt.Sprint(maphash.String(maphash.MakeSeed(), rest)))
	}
	panic("told to fail")
}

func answer(found []handfast.Certificate, hello handfast.ClientHello) handfast.Decision {
	for _, certificate := range found[:min(3, len(found))] {
		describe(certificate)
		say("usable", certificate.UsableBy(hello))
	}
	if len(found) == 0 {
		return handfast.Reject(112)
	}
	return handfast.Answer(found[0]).Because(fmt.Sprint(len(found)))
}

func answerOne(found handfast.Certificate, ok bool) func(handfast.ClientHello) handfast.Decision {
	return func(hello handfast.ClientHello) handfast.Decision {
		if !ok {
			return answer(nil, hello)
		}
		return answer([]handfast.Certificate{found}, hello)
	}
}

func report(connection handfast.Connection, hello handfast.ClientHello) {
	client, server := connection.ClientAddress(), connection.ServerAddress()
	say("connection", connection.Listener(), ip(client.Addr()), client.Port(), ip(server.Addr()), server.Port(),
		connection.Proxied(), all(connection.ProxyTLVs(), func(tlv handfast.TLV) string {
			return fmt.Sprintf("%d:%s", tlv.Type, sum(tlv.Value))
		}))
	say("hello", orAbsent(hello.ServerName()), all(hello.ALPN(), func(protocol string) string {
		return sum([]byte(protocol))
	}), hello.OffersResumption())
	say("numbers", all(hello.ProtocolVersions(), number), all(hello.CipherSuites(), number),
		all(hello.SignatureSchemes(), number), all(hello.NamedGroups(), number), all(hello.Extensions(), number))
	say("prints", hello.JA3(), hello.JA4(), sum(hello.Raw()))
}

func describe(certificate handfast.Certificate) {
	say("certificate", certificate.ID(), all(certificate.Names(), same), certificate.KeyAlgorithm(),
		certificate.KeyBits(), certificate.NotBefore(), certificate.NotAfter())
	say("details", certificate.Issuer(), certificate.Serial(), certificate.Fingerprint(), sum(certificate.DER()),
		all(certificate.Tags(), func(tag handfast.Tag) string { return tag.Key + "=" + tag.Value }),
		orAbsent(certificate.Tag("team")))
}

func store() string {
	const live = time.Minute
	var steps []string
	step := func(value any, err error) {
		switch {
		case errors.Is(err, keyvalue.ErrTooLarge):
			value = "too-large"
		case errors.Is(err, keyvalue.ErrNotANumber):
			value = "not-a-number"
		}
		steps = append(steps, fmt.Sprint(value))
	}
	get := func() {
		value, ok := keyvalue.Get("k")
		if ok {
			step(hex.EncodeToString(value), nil)
		} else {
			step("-", nil)
		}
	}
	get()
	step("ok", keyvalue.Set("k", []byte{1, 2, 3}, live))
	get()
	keyvalue.Delete("k")
	get()
	for _, delta := range []int64{5, -7} {
		sum, err := keyvalue.Increment("k", delta, live)
		step(sum, err)
	}
	for _, expected := range [][]byte{nil, {254, 255, 255, 255, 255, 255, 255, 255}} {
		replaced, err := keyvalue.CompareAndSet("k", expected, []byte{255}, live)
		step(replaced, err)
	}
	sum, err := keyvalue.Increment("k", 1, live)
	step(sum, err)
	step("ok", keyvalue.Set(strings.Repeat("k", 300), []byte{255}, live))
	return strings.Join(steps, " ")
}

func validate(
	_ handfast.Connection, _ handfast.ClientHello, chain handfast.PeerChain,
) ([]handfast.Attribute, error) {
	for index := range chain.Length() {
		peer, _ := chain.Certificate(index)
		say("peer", peer.Subject(), peer.Issuer(), peer.Serial(), peer.Fingerprint(), peer.NotBefore(), peer.NotAfter())
		say("names", all(peer.DNSNames(), same), all(peer.URIs(), same), all(peer.EmailAddresses(), same),
			all(peer.OrganizationalUnits(), same), orAbsent(peer.CommonName()), sum(peer.DER()))
	}
	leaf := chain.Leaf()
	if name, _ := leaf.CommonName(); name == "revoked" {
		return nil, handfast.Rejection{Alert: handfast.CertificateRevoked, Reason: "revoked"}
	}
	return []handfast.Attribute{
		{Name: "subject", Value: leaf.Subject()},
		{Name: "uris", Value: strings.Join(leaf.URIs(), " ")},
	}, nil
}

func admit(certificate handfast.Certificate) error {
	describe(certificate)
	if names := certificate.Names(); len(names) > 0 && strings.HasPrefix(names[0], "refused") {
		return errors.New("refused: " + names[0])
	}
	return nil
}

func say(words ...any) {
	handfast.Log(handfast.Info, strings.TrimSuffix(fmt.Sprintln(words...), "\n"))
}

func sum(data []byte) string {
	total := 0
	for _, value := range data {
		total = (total + int(value)) % 65536
	}
	return fmt.Sprintf("%d:%d", len(data), total)
}

func all[T any](list []T, shown func(T) string) string {
	if len(list) == 0 {
		return "-"
	}
	texts := make([]string, len(list))
	for index, element := range list {
		texts[index] = shown(element)
	}
	return strings.Join(texts, ",")
}

func same(text string) string     { return text }
func number(number uint16) string { return strconv.Itoa(int(number)) }

func orAbsent(text string, ok bool) string {
	if !ok {
		return "-"
	}
	return text
}

func ip(address netip.Addr) string {
	if address.Is4() {
		return address.String()
	}
	groups := make([]string, 8)
	for group, data := 0, address.As16(); group < 8; group++ {
		groups[group] = fmt.Sprintf("%x", int(data[2*group])<<8|int(data[2*group+1]))
	}
	return strings.Join(groups, ":")
}

func main() {}
