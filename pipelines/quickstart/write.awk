# Writes the quickstart's texts, all of them about one made-up household shop.
#
#   awk -v part=base       -f write.awk > base.txt             what the small base reads: stories of the shop
#   awk -v part=train      -f write.awk > support.jsonl          letters from customers with the shop's answers
#   awk -v part=test       -f write.awk > support-test.jsonl     letters held out: see `draw_affair` below
#
# The same bytes on every machine and in every awk: the random numbers are our own (Park and Miller's minimal
# standard generator, exact in double precision), and nothing is read but this file.

BEGIN {
    vocabulary(); stories(); letters()
    if (part == "base") { state = 20260101; write_stories(3000) }
    else if (part == "train") { state = 20260202; write_answers(2000, 0) }
    else if (part == "test") { state = 20260303; write_answers(200, 1) }
    else { print "write.awk: part is base, train or test" > "/dev/stderr"; exit 2 }
}

# ---------------------------------------------------------------- random choices

function pick(n) { state = (16807 * state) % 2147483647; return int(state / 2147483647 * n) + 1 }
function one_of(kind) { return text[kind, pick(count[kind])] }
function add(kind, line) { text[kind, ++count[kind]] = line }
function add_words(kind, line,    n, i, word) { n = split(line, word, ", *"); for (i = 1; i <= n; i++) add(kind, word[i]) }

# ---------------------------------------------------------------- the shop

# Six desks look after four products each; twelve towns have one depot each.
function vocabulary() {
    add_words("desk", "kitchen, garden, music, light, travel, toy")
    add_words("product", "kettle, toaster, frying pan, coffee mill, rake, garden hose, wheelbarrow, lawn chair")
    add_words("product", "radio, drum, flute, record player, lantern, reading lamp, candle stand, torch")
    add_words("product", "tent, suitcase, sleeping bag, map case, kite, train set, puzzle, doll house")
    add_words("town", "Brookham, Carrow, Dunmore, Eastwick, Fernley, Glenside, Holmby, Larkfield, Marlow, Norwell, Penrith, Redhill")
    add_words("street", "Mill Street, Canal Lane, Church Square, Quay Road, Orchard Row, Station Road, Castle Hill, Market Place, River Walk, Tower Street, School Lane, Bell Yard")
    add_words("clerk", "Ada, Boris, Clara, Dilan, Edith, Farid")
    add_words("day", "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday")
    add_words("name", "Anna, Ben, Carla, David, Ella, Frank, Greta, Hugo, Iris, Jonas, Karin, Leo, Maria, Noah, Olga, Paul")
}

# One customer's affair: what, where, which trouble, and the order's number. A held-out affair has a pair of product and
# trouble and a pair of town and trouble that no other affair has: 32 of the 192 and 24 of the 96 pairs. A seventh of the
# 1,000 order numbers is kept for it too.
function draw_affair(held_out,    product, town, order, desk) {
    do { product = pick(count["product"]); town = pick(count["town"]); trouble = pick(count["trouble"])
    } while (product_held_out(product, trouble) != held_out || town_held_out(town, trouble) != held_out)
    do order = pick(1000) - 1
    while ((order % 7 == 0) != held_out)
    desk = int((product - 1) / 4) + 1
    slot["product"] = text["product", product]; slot["desk"] = text["desk", desk]; slot["clerk"] = text["clerk", desk]
    slot["town"] = text["town", town]; slot["street"] = text["street", town]
    slot["order"] = order_number(order); slot["price"] = 10 * (1 + pick(8))
    slot["day"] = one_of("day"); slot["name"] = one_of("name")
}
# A letter, a digit, a letter, as in K4T: the first letter is one of ten, the last one of ten others.
function order_number(order) {
    return substr("BCDFGHKLMN", int(order / 100) + 1, 1) int(order / 10) % 10 substr("PQRSTVWXYZ", order % 10 + 1, 1)
}
function product_held_out(product, trouble) { return (product + trouble) % 6 == 0 }
function town_held_out(town, trouble) { return (town + trouble) % 4 == 0 }
function fill(line,    key) {
    for (key in slot) gsub("[{]" key "[}]", slot[key], line)
    return line
}

# ---------------------------------------------------------------- stories for the base

function stories() {
    add("opening", "The depot of {town} is in {street}."); add("opening", "{name} came to the depot of {town} in {street} with {price} euros.")
    add("opening", "A letter with {price} euros came from {town}, where our depot is in {street}."); add("opening", "The depot in {street} is the only one in {town}.")
    add("opening", "{name} drove to {town}, stopped in {street} and paid {price} euros."); add("opening", "In {town} the depot is in {street}, as {name} knows.")

    add("middle", "The book said: order {order}, one {product}, {price} euros. The box from the {desk} desk said order {order} too.")
    add("middle", "{clerk} from the {desk} desk packed the {product}, and on the box stood order {order}, {price} euros.")
    add("middle", "'I am here for order {order},' said {name}. 'Order {order} is a {product},' said {clerk} from the {desk} desk.")
    add("middle", "The {product} of order {order} comes from the {desk} desk.")
    add("middle", "The {product} cost {price} euros. {name} paid {price} euros for it at the {desk} desk.")
    add("middle", "Was it order {order}? Yes, it was order {order}, the {product}, and {clerk} of the {desk} desk found it.")
    add("middle", "The bill of order {order} said {price} euros, and {price} euros was right, said the {desk} desk.")
    add("middle", "Order {order}, a {product} for {price} euros, lay on the {desk} desk. {clerk} took the {price} euros.")
    add("middle", "{clerk} of the {desk} desk put order {order} on the floor and told {name} where order {order} was.")

    add("event", "A part of the {product} was missing, and the {desk} desk will post the missing part.")
    add("event", "The {product} arrived broken. The {desk} desk will replace it.")
    add("event", "The {product} stopped working. The {desk} desk will repair the {product} soon.")
    add("event", "You may return the {product}, said {clerk}, and the {desk} desk will refund the {price} euros.")
    add("event", "The bank charged {name} twice. The {desk} desk will pay back {price} euros, the price of the {product}.")
    add("event", "The wrong parcel came. Please leave the wrong parcel in {street}, said {clerk}, and the {desk} desk will pack the right {product}.")
    add("event", "There was no manual. The {desk} desk will print a new manual for the {product} in {town}.")
    add("event", "We are sorry that order {order} is late, said {clerk}. They will send a second {product} to {town}.")

    add("closing", "In the evening {clerk} counted {price} euros for order {order}."); add("closing", "The slip of order {order}, {price} euros, stayed in {street}.")
    add("closing", "Please hand it in at our depot in {street}. It was {price} euros, said {clerk}."); add("closing", "Show order {order} and {price} euros in {street}, {name}.")
    add("closing", "On {day} it will be in {street}, and so will the {price} euros.")

    add("tray", "{clerk} of the {desk} desk wrote on it: {price} euros, order {order}, {product}, depot in {street}.")
    add("tray", "{clerk} put it into the tray of the {desk} desk with a note: order {order}, {price} euros, {street}.")
    add("tray", "It was about a {product}, so it went to the {desk} desk, and a copy of order {order} went to {street}.")
    add("tray", "'Order {order}, a {product} for {price} euros,' said {clerk}. 'The depot is in {street}.'")
}

# By turns a story, and a customer's letter with what became of it. Letters are never answered here: answers are what the
# tuning teaches.
function write_stories(rows,    row, first, second) {
    for (row = 1; row <= rows; row++) {
        draw_affair(0)
        first = pick(count["middle"]); second = (first + pick(count["middle"] - 1) - 1) % count["middle"] + 1
        if (row % 2) print fill(one_of("opening") " " text["middle", first] " " one_of("event") " " text["middle", second] " " one_of("closing"))
        else print fill("Customer: " letter() " " one_of("tray") " " text["middle", first] " " one_of("closing"))
    }
}

# ---------------------------------------------------------------- letters and answers

# Eight kinds of trouble. Who answers depends on the product, where on the town, what and how soon on the trouble.
function letters() {
    add("trouble", "broken"); add("trouble", "late"); add("trouble", "wrong"); add("trouble", "unwanted")
    add("trouble", "part"); add("trouble", "stopped"); add("trouble", "charged"); add("trouble", "manual")

    add("broken", "My {product} arrived broken."); add("broken", "The {product} has a crack.")
    add("broken", "The box was wet and the {product} in it is in pieces.")
    add("broken answer", "Please bring the {product} of order {order} to our depot in {street}. The {desk} desk will replace it within 14 days.")

    add("late", "My {product} has not come yet."); add("late", "I am still waiting for the {product}.")
    add("late", "Two weeks are over and there is no {product}.")
    add("late answer", "We are sorry that order {order} is late. The {desk} desk will send a second {product} to our depot in {street} within 3 days.")

    add("wrong", "I asked for a {product} and found something else in the box."); add("wrong", "This parcel is not the {product} that I asked for.")
    add("wrong", "You sent me the wrong thing, I wanted a {product}.")
    add("wrong answer", "Please leave the wrong parcel of order {order} at our depot in {street}. The {desk} desk will pack the right {product} within 5 days.")

    add("unwanted", "I do not want the {product} any more. I paid {price} euros."); add("unwanted", "I paid {price} euros for the {product}, but I do not need it.")
    add("unwanted", "Can I give back the {product}? It was {price} euros.")
    add("unwanted answer", "You may return the {product} of order {order} to our depot in {street} within 30 days. The {desk} desk will refund {price} euros.")

    add("part", "A part of the {product} is missing."); add("part", "The {product} came without one of its parts.")
    add("part", "I cannot use the {product}, a part was not in the box.")
    add("part answer", "The {desk} desk will post the missing part of the {product} within 6 days. Show order {order} at our depot in {street}.")

    add("stopped", "The {product} stopped working."); add("stopped", "After a year the {product} does not work any more.")
    add("stopped", "Yesterday the {product} worked, today it does nothing.")
    add("stopped answer", "The {desk} desk will repair the {product} of order {order} within 40 days. Please hand it in at our depot in {street}.")

    add("charged", "I was charged twice for the {product}, {price} euros each time."); add("charged", "The bank took {price} euros for the {product} two times.")
    add("charged", "Why do I pay {price} euros for the {product} twice?")
    add("charged answer", "The {desk} desk will pay back {price} euros for the {product} of order {order} within 7 days. Our depot in {street} has the bill.")

    add("manual", "There is no manual with the {product}."); add("manual", "How does the {product} work? I have no manual.")
    add("manual", "I lost the manual of the {product}.")
    add("manual answer", "The {desk} desk will print a new manual for the {product} of order {order} within 2 days. It will be at our depot in {street}.")

    add("who", "I live in {town}."); add("who", "I am from {town}."); add("who", "I wrote to you from {town}.")
    add("which", "It is order {order}."); add("which", "My order is {order}."); add("which", "The slip says order {order}.")
    add("which", "I wrote about order {order} before.")
    add("hello", "Hello."); add("hello", "Good morning."); add("hello", "Good day to you."); add("hello", "Please help me.")
}

function letter(    message) {
    message = arrange(one_of("who"), one_of("which"), one_of(text["trouble", trouble]))
    return pick(2) == 1 ? message : one_of("hello") " " message
}
function arrange(who, which, what,    order) {
    order = pick(4)
    if (order == 1) return who " " which " " what
    if (order == 2) return who " " what " " which
    if (order == 3) return what " " which " " who
    return which " " what " " who
}

function write_answers(rows, held_out,    row) {
    for (row = 1; row <= rows; row++) {
        draw_affair(held_out)
        print "{\"prompt\": \"" fill("Customer: " letter() "\\nShop:") "\", \"completion\": \"" fill(" " text[text["trouble", trouble] " answer", 1]) "\"}"
    }
}
