// Command upstream serves a strict fake of OpenAI's API, for the tests of the
// official clients. It prints its URL and serves until it is ended.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "the address to listen on")
	dialect := flag.String("dialect", "openai", "one of "+strings.Join(fakeopenai.Dialects(), ", "))
	scenario := flag.String("scenario", "demo", "what the model does, for models whose name does not say: one of "+strings.Join(fakeopenai.Scenarios(), ", "))
	apis := flag.String("apis", "chat,responses", "the APIs that it has")
	key := flag.String("key", "", "the key that it asks for; empty: none")
	delay := flag.Duration("delay", 0, "the time between the events of a stream")
	flag.Parse()

	o := fakeopenai.Options{Dialect: *dialect, Scenario: *scenario, APIKey: *key, Delay: *delay}
	for _, api := range strings.Split(*apis, ",") {
		o.APIs = append(o.APIs, fakeopenai.API(api))
	}
	model := fakeopenai.New(o)
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/v1\n", l.Addr())
	log.Fatal(http.Serve(l, model))
}
