# {modules}: candidates after -m. {commands}: the modules that support -sc; any other module would run its
# command at the TAB key. Readline treats = and : as the end of a word, so the text up to the last of them is
# removed from each candidate. compgen -W is not used: it would run the text between $( ) in a file name.
_char_rnn_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" word head python choices choice
    COMPREPLY=()
    if [[ $line =~ ^[[:space:]]*([^[:space:]]*)[[:space:]]+-m[[:space:]]+(src\.[a-z]+)[[:space:]] ]]; then
        [[ " {commands} " == *" ${BASH_REMATCH[2]} "* ]] || return
        python="${BASH_REMATCH[1]/#\~/$HOME}"
        choices=$(COMP_LINE="$line" "$python" -m "${BASH_REMATCH[2]}" -sc query=bash 2>/dev/null)
    elif [[ $line =~ [[:space:]]-m[[:space:]]+[^[:space:]]*$ ]]; then
        choices=$(printf '%s\n' {modules})
    else
        return
    fi
    word="${line##*[[:space:]]}"
    head="${word%"${word##*[=:]}"}"
    while IFS= read -r choice; do
        [[ -n $choice && $choice == "$word"* ]] && COMPREPLY+=("${choice#"$head"}")
    done <<< "$choices"
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} != *[=./,] ]]; then
        compopt +o nospace 2>/dev/null
    fi
}
complete -o nospace -o bashdefault -o default -F _char_rnn_complete python python3
