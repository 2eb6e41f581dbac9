# WordNet 3.0's data files (Debian package wordnet-base, /usr/share/wordnet/data.{noun,verb,adj,adv}) to
# items, one JSON object a line: the text is the gloss, the words it explains are in the metadata.
#   awk -f tools/wordnet_ndjson.awk /usr/share/wordnet/data.noun ... > words.ndjson
# Line format (wndb(5)): offset lex_filenum ss_type w_cnt(hex) {word lex_id}... p_cnt ... | gloss

function hex(s,    i, v) {
    v = 0
    s = tolower(s)
    for (i = 1; i <= length(s); i++) v = v * 16 + index("0123456789abcdef", substr(s, i, 1)) - 1
    return v
}

function quote(s) {
    gsub(/\\/, "\\\\", s)
    gsub(/"/, "\\\"", s)
    return "\"" s "\""
}

BEGIN {
    pos["n"] = "noun"; pos["v"] = "verb"; pos["a"] = "adjective"; pos["s"] = "adjective"; pos["r"] = "adverb"
}

/^[0-9]/ {
    bar = index($0, " | ")
    gloss = substr($0, bar + 3)
    sub(/[ \t\r]+$/, "", gloss)
    words = ""
    n = hex($4)
    for (i = 0; i < n; i++) {
        word = $(5 + 2 * i)
        sub(/\([a-z]+\)$/, "", word) # an adjective's position marker
        gsub(/_/, " ", word)
        words = words (i ? ", " : "") quote(word)
    }
    printf "{\"id\": \"%s%s\", \"text\": %s, \"metadata\": {\"lemmas\": [%s], \"pos\": \"%s\"}}\n", \
        $3, $1, quote(gloss), words, pos[$3]
}
