# Two translations of one book, as diatheke prints them, to items: the first is the text, the second the metadata
# field "modern". A verse that only one of them has is left out.
#   awk -f tools/verses_ndjson.awk OLD NEW
function clean(s) {
    gsub(/[ \t\r]+/, " ", s)
    sub(/^ /, "", s)
    sub(/ $/, "", s)
    gsub(/\\/, "\\\\", s)
    gsub(/"/, "\\\"", s)
    gsub(/[\001-\037]/, "", s)
    return s
}
function keep(    s) {
    s = clean(text)
    if (verse != "" && s != "") {
        if (file == 1) { if (!(verse in old)) order[++n] = verse; old[verse] = s }
        else fresh[verse] = s
    }
    verse = ""
    text = ""
}
FNR == 1 { keep(); file++ }
# "Genesis 1:1: In the beginning …", perhaps after a title; a line without such a head belongs to the verse before
match($0, /(I+ )?[A-Z][a-z]+( of [A-Z][a-z]+)* [0-9]+:[0-9]+: ?/) {
    head = substr($0, RSTART, RLENGTH)
    rest = substr($0, RSTART + RLENGTH)
    keep()
    verse = head
    sub(/: ?$/, "", verse)
    text = rest
    next
}
/^\([A-Za-z0-9]+\)$/ || /[Pp]salm/ { next } # the module's name; a title that diatheke repeats
length(text) + length($0) < 1000 { text = text " " $0 }
END {
    keep()
    for (i = 1; i <= n; i++)
        if (order[i] in fresh)
            printf "{\"id\": \"%s\", \"text\": \"%s\", \"metadata\": {\"modern\": \"%s\"}}\n", order[i], old[order[i]], fresh[order[i]]
}
