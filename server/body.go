package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"
)

// errTwice says that an object has a member twice: readers differ in which of the two they take, and where a bank or a
// confirmation is meant nobody should guess.
var errTwice = errors.New("names a member twice; each may stand there once")

// readJSON reads a body. It is stricter than encoding/json, which takes the last of two members of one name.
func readJSON(body []byte, into any) error {
	if _, err := jsontext.AppendFormat(nil, body, jsontext.AllowInvalidUTF8(true)); errors.Is(err, jsontext.ErrDuplicateName) {
		return errTwice
	}
	return json.Unmarshal(body, into)
}

// formats are what bodies are read and answers written by.
func formats() map[string]huma.Format {
	f := huma.DefaultJSONFormat
	f.Unmarshal = readJSON
	return map[string]huma.Format{"application/json": f, "json": f}
}

// mediaType writes the body's media type in small letters, since case means nothing in it and is compared by what reads it.
func mediaType(c *gin.Context) {
	said := c.GetHeader("Content-Type")
	if media, _, err := mime.ParseMediaType(said); err == nil { // which is in small letters
		_, parameters, _ := strings.Cut(said, ";")
		c.Request.Header.Set("Content-Type", strings.TrimSuffix(fmt.Sprintf("%s;%s", media, parameters), ";"))
	}
}
