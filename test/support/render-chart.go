// Renders a Helm chart with what Helm renders with: Go's text/template and sprig, both as Debian packages them. Helm itself
// is in no registry that a test may count on. Knows what this chart uses: values over values, include, toYaml. Prints JSON:
// the values as put together, and the text of each template by its name.
// GO111MODULE=off GOPATH=/usr/share/gocode go run render-chart.go CHART RELEASE NAMESPACE [VALUES.yaml]
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

func main() {
	chart, release, namespace := os.Args[1], os.Args[2], os.Args[3]
	values := readYaml(filepath.Join(chart, "values.yaml"))
	for _, path := range os.Args[4:] {
		values = over(values, readYaml(path))
	}
	// Chart.yaml has small names, templates ask for large ones.
	about := map[string]interface{}{}
	for name, value := range readYaml(filepath.Join(chart, "Chart.yaml")) {
		about[strings.ToUpper(name[:1])+name[1:]] = value
	}
	scope := map[string]interface{}{
		"Values":  values,
		"Chart":   about,
		"Release": map[string]interface{}{"Name": release, "Namespace": namespace, "Service": "Helm"},
	}

	paths, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	check(err)
	all := template.New("chart").Option("missingkey=zero")
	all.Funcs(sprig.TxtFuncMap()).Funcs(template.FuncMap{
		"include": func(name string, data interface{}) (string, error) {
			var text bytes.Buffer
			err := all.ExecuteTemplate(&text, name, data)
			return text.String(), err
		},
		"toYaml": func(value interface{}) (string, error) {
			text, err := yaml.Marshal(value)
			return strings.TrimSuffix(string(text), "\n"), err
		},
	})
	for _, path := range paths {
		text, err := os.ReadFile(path)
		check(err)
		_, err = all.New(filepath.Base(path)).Parse(string(text))
		check(err)
	}
	rendered := map[string]string{}
	for _, path := range paths {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "_") {
			continue
		}
		var text bytes.Buffer
		check(all.ExecuteTemplate(&text, name, scope))
		rendered[name] = strings.ReplaceAll(text.String(), "<no value>", "")
	}
	check(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{"values": values, "rendered": rendered}))
}

// Maps are merged, everything else is replaced; null takes a value away.
func over(below, above map[string]interface{}) map[string]interface{} {
	merged := map[string]interface{}{}
	for name, value := range below {
		merged[name] = value
	}
	for name, value := range above {
		inner, isMap := value.(map[string]interface{})
		lower, wasMap := merged[name].(map[string]interface{})
		switch {
		case value == nil:
			delete(merged, name)
		case isMap && wasMap:
			merged[name] = over(lower, inner)
		default:
			merged[name] = value
		}
	}
	return merged
}

func readYaml(path string) map[string]interface{} {
	text, err := os.ReadFile(path)
	check(err)
	values := map[string]interface{}{}
	check(yaml.Unmarshal(text, &values))
	return values
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
