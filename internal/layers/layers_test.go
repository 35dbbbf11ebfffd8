// Package layers holds the test that keeps the folders apart as
// docs/architecture.md says.
package layers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/onetrunk/onetrunk/"

// allowed says which top folders the packages of a top folder may import,
// beside their own and internal. A folder that is not here may not exist: a
// new one earns a row, here and in docs/architecture.md, first.
var allowed = map[string][]string{
	"tensor":      nil,
	"autograd":    {"tensor"},
	"checkpoint":  nil,
	"sharing":     {"autograd", "tensor"},
	"moe":         {"sharing", "autograd", "tensor"},
	"tokenizers":  {"sharing", "autograd", "tensor"},
	"encoder":     {"moe", "sharing", "autograd", "tensor"},
	"contrastive": {"autograd", "tensor"},
	"modalities":  {"tokenizers", "tensor"},
	"model":       {"encoder", "modalities", "tokenizers", "sharing", "moe", "checkpoint", "autograd", "tensor"},
	"pretrained":  {"model", "encoder", "modalities", "tokenizers", "sharing", "checkpoint", "tensor"},
	"datasets":    {"modalities", "tokenizers"},
	"design":      {"compare", "train", "model", "sharing", "tensor"},
	"compare": {
		"train", "pretrained", "model", "datasets", "configs",
		"modalities", "tokenizers", "sharing", "moe", "tensor",
	},
	"train": {
		"pretrained", "model", "datasets", "contrastive", "configs",
		"encoder", "modalities", "tokenizers", "sharing", "moe", "checkpoint", "autograd", "tensor",
	},
	"retrieval": {"model", "datasets", "modalities", "tokenizers", "tensor"},
	"export":    {"model", "encoder", "modalities", "tokenizers", "sharing", "checkpoint"},
	"evaluate":  {"datasets", "modalities", "tokenizers", "tensor"},
	"configs":   nil,
	"cmd": {
		"design", "compare", "train", "retrieval", "evaluate", "export", "pretrained", "model", "datasets", "contrastive", "configs",
		"encoder", "modalities", "tokenizers", "sharing", "moe", "checkpoint", "autograd", "tensor",
	},
	"internal": nil,
}

// pkg is a package and what its files import.
type pkg struct {
	path           string
	imports, tests []string
}

// top returns the first folder of one of our import paths, "" of a foreign one.
func top(path string) string {
	path, ours := strings.CutPrefix(path, module)
	if !ours {
		return ""
	}
	first, _, _ := strings.Cut(path, "/")
	return first
}

// above reports whether the table lets folder a import b, directly or through
// others.
func above(a, b string) bool {
	if b == "internal" {
		return a != b
	}
	seen := slices.Clone(allowed[a])
	for i := 0; i < len(seen); i++ {
		for _, to := range allowed[seen[i]] {
			if !slices.Contains(seen, to) {
				seen = append(seen, to)
			}
		}
	}
	return slices.Contains(seen, b)
}

// forbidden lists the edges of the import graph that the table does not
// allow. Tests may import more, though nothing that stands above their folder.
func forbidden(pkgs []pkg) []string {
	var found []string
	for _, p := range pkgs {
		from := top(p.path)
		may, known := allowed[from]
		if !known {
			found = append(found, fmt.Sprintf("%s: the folder %q has no row in the table", p.path, from))
			continue
		}
		for _, imp := range p.imports {
			to := top(imp)
			if to != "" && to != from && to != "internal" && !slices.Contains(may, to) {
				found = append(found, fmt.Sprintf("%s imports %s: %s may import %v", p.path, imp, from, may))
			}
		}
		for _, imp := range p.tests {
			if to := top(imp); to != "" && above(to, from) {
				found = append(found, fmt.Sprintf("a test of %s imports %s: %s stands above %s", p.path, imp, to, from))
			}
		}
	}
	return found
}

// packages reads the imports of all packages as `go list` gives them, for
// systems on which other files are built. A result of go test that is cached
// does not know of it: -count=1 asks anew.
func packages(t *testing.T) []pkg {
	t.Helper()
	var pkgs []pkg
	for _, system := range []string{"linux", "windows"} {
		cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
			var l struct {
				ImportPath                         string
				Imports, TestImports, XTestImports []string
			}
			if err := dec.Decode(&l); err != nil {
				t.Fatal(err)
			}
			pkgs = append(pkgs, pkg{l.ImportPath, l.Imports, append(l.TestImports, l.XTestImports...)})
		}
	}
	return pkgs
}

func TestImports(t *testing.T) {
	pkgs := packages(t)
	if len(pkgs) < 10 {
		t.Fatalf("found %d packages", len(pkgs))
	}
	for _, edge := range forbidden(pkgs) {
		t.Error(edge)
	}
}

// The table itself has no cycle, so the folders have an order.
func TestTableHasAnOrder(t *testing.T) {
	placed := map[string]bool{}
	for len(placed) < len(allowed) {
		before := len(placed)
		for from, may := range allowed {
			if !slices.ContainsFunc(may, func(to string) bool { return !placed[to] }) {
				placed[from] = true
			}
		}
		if len(placed) == before {
			t.Fatalf("a cycle among the folders that are not in %v", placed)
		}
	}
}

// The check sees what it is there to see.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		path, imp string
		test      bool
		want      string
	}{
		{path: "model", imp: "autograd"},
		{path: "model", imp: "internal/strictjson"},
		{path: "datasets/demo", imp: "datasets"},
		{path: "datasets/demo", imp: "modalities/image"},
		{path: "datasets/demo", imp: "sharing", test: true},
		{path: "retrieval", imp: "train", test: true},
		{path: "datasets/demo", imp: "model", want: "datasets/demo imports " + module + "model"},
		{path: "contrastive", imp: "encoder", want: "contrastive may import [autograd tensor]"},
		{path: "train", imp: "cmd/mmtrain", want: "train imports"},
		{path: "internal/x", imp: "tensor", want: "internal may import []"},
		{path: "utils", imp: "tensor", want: `the folder "utils" has no row`},
		{path: "tensor", imp: "autograd", test: true, want: "autograd stands above tensor"},
		{path: "autograd", imp: "retrieval", test: true, want: "retrieval stands above autograd"},
		{path: "internal/x", imp: "configs", test: true, want: "configs stands above internal"},
	} {
		p := pkg{path: module + c.path, imports: []string{module + c.imp}}
		if c.test {
			p.imports, p.tests = nil, p.imports
		}
		got := strings.Join(forbidden([]pkg{p, {path: module + "tensor", imports: []string{"fmt"}}}), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s: found %q, want %q", c.path, c.imp, got, c.want)
		}
	}
}

// Every row stands in the document too.
func TestDocumentHasTheRows(t *testing.T) {
	doc, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for folder := range allowed {
		if !bytes.Contains(doc, []byte("\n| `"+folder+"/` |")) {
			t.Errorf("docs/architecture.md has no row for %s/", folder)
		}
	}
}
