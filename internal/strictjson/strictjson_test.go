package strictjson

import (
	"encoding/json"
	"strings"
	"testing"
)

type config struct {
	Width  int              `json:"width"`
	Rates  []float64        `json:"rates"`
	Inner  inner            `json:"inner"`
	ByName map[string]inner `json:"by_name"`
	Free   json.RawMessage  `json:"free"`
}

type inner struct {
	Scheme string `json:"scheme"`
}

func TestErrorsNameTheKey(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"widht": 3}`, `unknown key "widht" (did you mean "width"?)`},
		{`{"inner": {"schema": "x"}}`, `unknown key "inner.schema" (did you mean "scheme"?)`},
		{`{"by_name": {"a": {"zzzzzzzz": 1}}}`, `unknown key "by_name.a.zzzzzzzz" (known: scheme)`},
		{`{"width": "three"}`, `key "width": expected a whole number, found string`},
		{`{"inner": {"scheme": 1}}`, `key "inner.scheme": expected a string, found number`},
		{`{"width": 1, "width": 2}`, `key "width" is given twice`},
		{`{"width": 1} {}`, `more data after the JSON value`},
		{"{\n\"width\": 1,\n}", `line 3`},
		{`{"width": 1`, `unexpected EOF`},
		{``, `unexpected EOF`},
		{`{"free": ` + strings.Repeat("[", 200), `nested more than`},
	} {
		var v config
		err := Unmarshal("c.json", []byte(c.in), &v)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "c.json: ") {
			t.Errorf("%s: error %v, want it to name c.json and hold %q", c.in, err, c.want)
		}
	}
}

func TestGoodValue(t *testing.T) {
	var v config
	in := `{"width": 3, "rates": [1, 2.5], "inner": {"scheme": "cycle"}, "free": {"anything": [1, {"goes": true}]}}`
	if err := Unmarshal("c.json", []byte(in), &v); err != nil {
		t.Fatal(err)
	}
	if v.Width != 3 || v.Rates[1] != 2.5 || v.Inner.Scheme != "cycle" || !strings.Contains(string(v.Free), "goes") {
		t.Errorf("read %+v", v)
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"width": 3, "by_name": {"a": {"scheme": "x"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v config
		if Unmarshal("f", data, &v) == nil && !json.Valid(data) {
			t.Errorf("accepted invalid JSON %q", data)
		}
	})
}
