"""The word lists of the help desk; what follows a double bar is held out from the train split."""

from __future__ import annotations

from pipeline.tasks.demo.grammar import Pool, pool, union

# Product areas: the labels of `topic`.
AREAS: dict[str, Pool] = {
    "laptops": pool("laptop | notebook | ultrabook | work laptop | gaming laptop || chromebook | netbook"),
    "phones": pool("phone | smartphone | handset | mobile phone | cell phone || flip phone | iphone"),
    "printers": pool("printer | laser printer | label printer | inkjet | scanner || photocopier | plotter"),
    "network": pool("router | modem | wifi repeater | network switch | wifi hub || access point | range extender"),
    "audio": pool("headset | speaker | soundbar | microphone | amplifier || subwoofer | megaphone"),
    "cameras": pool("camera | webcam | camcorder | action camera | video doorbell || dashcam | spy cam"),
    "wearables": pool(
        "smartwatch | fitness band | pulse monitor | sports watch | smart bracelet || smart ring | step counter"
    ),
}

# What a customer can want, as infinitives: the labels of `intent`.
INTENTS: dict[str, Pool] = {
    "cancel": pool(
        "cancel my order | cancel the {device} order | call off the purchase | stop the order for the {device} "
        "|| back out of the purchase | annul the {device} order"
    ),
    "refund": pool(
        "get my money back | get a refund for the {device} | claim the payment back "
        "| have the {amount} paid back to my card "
        "|| be reimbursed for the {device} | recover the {amount} that I paid"
    ),
    "track": pool(
        "find out where my parcel is | track the {device} shipment | see how far the delivery is "
        "| know when the {device} arrives "
        "|| locate the package | follow the {device} on its way"
    ),
    "exchange": pool(
        "swap the {device} for another model | exchange the {device} | trade the {device} for a bigger one "
        "| change the {device} for one in {colour} || switch to a different {device} "
        "| turn in the {device} for a newer one"
    ),
    "repair": pool(
        "have the {device} repaired | get the broken {device} fixed | send the {device} in for repair "
        "| book a technician for the {device} || have the {device} mended | let someone look at the damaged {device}"
    ),
    "invoice": pool(
        "get a copy of the invoice | receive the bill for the {device} | download the receipt "
        "| have the invoice sent to accounting "
        "|| obtain proof of purchase | see the billing statement"
    ),
    "address": pool(
        "change the delivery address | have the parcel sent to {place} | update the shipping address "
        "| move the delivery to {place} "
        "|| redirect the package to {place} | correct the street on the order"
    ),
    "login": pool(
        "reset my password | get back into my account | unlock my login | sign in to the shop again "
        "|| recover my user name | regain access to my profile"
    ),
    "warranty": pool(
        "extend the warranty | buy extra cover for the {device} | add a longer guarantee "
        "| sign up for the protection plan "
        "|| insure the {device} | prolong the coverage"
    ),
}

# What can be wrong with a device, as predicates: the issues of `same_issue`.
FAULTS: dict[str, Pool] = {
    "power": pool("will not turn on | does not start | stays off when I press the button || refuses to power up"),
    "noise": pool("makes a loud noise | hums and rattles | is far too loud || buzzes all day"),
    "heat": pool("gets too hot | overheats | almost burns my fingers || runs at an alarming temperature"),
    "screen": pool("has a black screen | shows nothing on the display | has a dark display || displays no picture"),
    "online": pool("loses the wifi | drops the connection | does not stay online || keeps going offline"),
    "battery": pool(
        "needs charging every hour | does not hold a charge | has an empty battery by noon || drains its battery"
    ),
    "update": pool("fails to update | cannot install the new version | hangs during the update || rejects the upgrade"),
    "smell": pool("smells of smoke | gives off a burnt smell | stinks of melted plastic || reeks as if charred"),
}

# How far away a deadline is: the labels of `urgency`.
DEADLINES: dict[str, Pool] = {
    "now": pool(
        "in twenty minutes | in half an hour | in two hours | this afternoon | tonight | in three hours "
        "| within the hour "
        "|| in ninety minutes | at noon today"
    ),
    "soon": pool(
        "in three days | in four days | the day after tomorrow | later this week | in five days | in half a week "
        "|| in seventy hours | by the weekend"
    ),
    "later": pool(
        "in two months | in six weeks | next year | in half a year | in five months | some year | in eight weeks "
        "|| a year from now | next season"
    ),
}

WORDS: dict[str, Pool] = {
    "device": union(list(AREAS.values())),
    "place": pool(
        "Leeds | York | Bath | Dover | Lisbon | Oslo | Geneva | Hull | Port Ellen | San Remo | New Haven | Milan "
        "| Cork "
        "| Santa Clara | Vienna || Turin | Bristol | Cape Town | Porto | Fort William"
    ),
    "date": pool(
        "Monday | Tuesday | Thursday | Saturday | 3 May | 12 June | 21 March | the first of July | the tenth of August "
        "| next Monday | the last day of April || Friday | 5 October | the ninth of November | 30 January"
    ),
    "amount": pool(
        "## euros | ### euros | ## pounds | ### dollars | forty euros | two hundred pounds | ninety dollars "
        "| #.## dollars "
        "|| ## francs | fifty crowns | ##.## euros"
    ),
    "colour": pool("blue | green | black | white | red | yellow | grey | dark blue || purple | light brown | orange"),
    "number": pool("two | three | four | five | six | ten | 12 | 15 | 20 | twenty five || seven | eleven | 36"),
    "item": pool(
        "mugs | desk lamps | usb cables | backpacks | chairs | keyboards | power strips | phone cases | batteries "
        "| screen wipes "
        "| shelves || monitor arms | notepads | adapters | footrests"
    ),
    "code": pool("@@-#### | @#-### | #####-@ | ###### | @@@#### || @@/### | ##-##-##"),
    "person": pool(
        "Anna Berg | Tom Hale | Mia Costa | Omar Reyes | Lena Fox | Paul Dunn | Ines Marsh | Hugo Lind "
        "| Carla Nowak | Ben Ortiz "
        "| Sara van Dyk | Amir || Greta Stone | Ivan Petrov | Noor Haddad | Colin"
    ),
    "phone": pool("0### ###### | +## ### #### | #### ## ## | 0##-####### || (0##) #### | ###.###.###"),
    "hour": pool(
        "3 pm | nine | half past two | 10:30 | noon | 8 am | quarter to six | 16:15 | eleven "
        "|| a quarter past four | 7 pm"
    ),
    "span": pool("two years | six months | three years | eighteen months || half a decade"),
    "hours": pool("eight hours | ten hours | a full day | six hours || fourteen hours"),
    "weight": pool("two kilos | 800 grams | 1.5 kilos | 350 grams || four pounds"),
    "good": pool("excellent | wonderful | great | superb | impressive | a joy || brilliant | fantastic | a delight"),
    "bad": pool("terrible | awful | useless | disappointing | dreadful | a nuisance || horrible | appalling | rubbish"),
    "subject": pool(
        "the {device} | your service | the delivery | your support | the new app || the packaging | the courier"
    ),
    "fine": pool("works fine | is all right | gives no trouble | runs as it should || does its job"),
    "ago": pool(
        "an hour ago | three days ago | last year | six weeks ago | this morning | two months ago || a while back"
    ),
    "event": pool(
        "the exam starts | my flight leaves | the trade fair opens | our audit begins | the meeting takes place "
        "| the course starts "
        "|| the concert begins | our train departs"
    ),
    "hello": pool("hello, | hi, | good morning, | dear team, | hi there, || greetings, | good evening,"),
    "thanks": pool("thank you | thanks | kind regards | many thanks || cheers | yours truly"),
}
