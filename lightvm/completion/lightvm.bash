# bash completion for lightvm

# Domain names are compared here and quoted, never expanded: they are not the shell's to run.
_lightvm_domains() {
    local name
    while IFS= read -r name; do
        if [[ $name == "$1"* ]]; then
            COMPREPLY+=("$(printf '%q' "$name")")
        fi
    done < <(lightvm "${@:2}" list --quiet --all 2>/dev/null)
}

_lightvm_words() {
    local word
    for word in ${*:2}; do
        if [[ $word == "$1"* ]]; then
            COMPREPLY+=("$word")
        fi
    done
}

_lightvm_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_lightvm() {
    local verbs="create destroy list info pause unpause stop restart console wait events pool flavors
        services service doctor version schema completion"
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local verb="" word i
    local -a socket=()
    COMPREPLY=()

    if [[ $current == "=" ]]; then
        current=""
    elif [[ $previous == "=" ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --socket)
            [[ ${COMP_WORDS[i + 1]} == "=" ]] && ((i++))
            ((i++))
            ((i < COMP_CWORD)) && socket=(--socket "${COMP_WORDS[i]}")
            ;;
        -* | =) ;;
        *) [[ $verb ]] || verb=$word ;;
        esac
    done

    case $previous in
    --socket | --module | --disk | --metadata | --image)
        _lightvm_files "$current"
        return
        ;;
    --wait)
        _lightvm_words "$current" running ready
        return
        ;;
    --mode)
        _lightvm_words "$current" noxs xenstore
        return
        ;;
    --on-poweroff | --on-reboot | --on-crash)
        _lightvm_words "$current" destroy restart preserve
        return
        ;;
    --for)
        _lightvm_words "$current" running ready exited
        return
        ;;
    --format)
        case $verb in
        list) _lightvm_words "$current" table json csv ;;
        *) _lightvm_words "$current" table json ;;
        esac
        return
        ;;
    --name | --flavor | --memory | --vcpus | --cpus | --cpu-weight | --cpu-cap | --cmdline | --count | --timeout | --token | --offset | --network | \
        --addresses | --idle-seconds | --most)
        return
        ;;
    esac

    local options="--help --socket"
    case $verb in
    "")
        if [[ $current == -* ]]; then
            _lightvm_words "$current" $options --version
        else
            _lightvm_words "$current" $verbs
        fi
        return
        ;;
    create)
        options+=" --name --flavor --mode --memory --vcpus --cpus --cpu-weight --cpu-cap --cmdline --module --net --disk --metadata --on-poweroff --on-reboot
            --on-crash --count --paused --cold --wait
            --timeout --token --format"
        ;;
    destroy) options+=" --missing-ok --wait --foreign" ;;
    pause | unpause) options+=" --foreign" ;;
    list) options+=" --quiet --all --format" ;;
    stop | restart) options+=" --timeout --force --foreign" ;;
    console) options+=" --interactive --print --follow --offset" ;;
    wait) options+=" --for --timeout" ;;
    service) options+=" --image --network --addresses --flavor --cmdline --metadata --idle-seconds --most" ;;
    info | events | pool | flavors | services | doctor | version) options+=" --format" ;;
    esac

    if [[ $current == -* ]]; then
        _lightvm_words "$current" $options
        return
    fi
    case $verb in
    create) _lightvm_files "$current" ;;
    destroy | info | pause | unpause | stop | restart | console | wait)
        _lightvm_domains "$current" "${socket[@]}"
        ;;
    service) [[ $previous == service ]] && _lightvm_words "$current" add remove ;;
    completion) _lightvm_words "$current" bash zsh ;;
    esac
}

complete -F _lightvm lightvm
